//! What happens to a world: one misfortune after the other.

use super::apps;
use super::fleet::Fleet;
use super::world::World;
use lathe_dynos::fake::{Dice, Weather};
use std::sync::Arc;

pub(super) const MINUTE_MS: u64 = 60_000;

/// Something begins, ends or just happens, and some time passes.
pub(super) fn episode(world: &mut World, dice: &mut Dice) {
    match dice.below(10) {
        0 => lose_machines(world, dice, 3, true),
        1 => lose_machines(world, dice, 3, false),
        2 => lose_state(world, dice.below(MINUTE_MS)),
        3 => {
            // Reports that come late, twice, or not at all.
            world.network.loses = dice.below(30);
            world.network.doubles = dice.below(30);
            world.network.delays_ms = dice.below(10_000);
        }
        4 => {
            for machine in &mut world.machines {
                let (refuses, forgets) = (dice.below(20), dice.below(20));
                machine.weather = Weather { refuses, forgets, delays_ms: dice.below(3_000) };
            }
        }
        5 => {
            for _ in 0..10 {
                let number = some(dice, world.machines.len());
                let now_ms = world.now_ms;
                world.machines[number].crash_one(now_ms);
            }
        }
        6 => {
            for _ in 0..3 {
                let number = some(dice, world.machines.len());
                world.machines[number].restart_cell();
            }
        }
        7 | 8 => {
            for _ in 0..4 {
                let number = some(dice, world.snapshot.apps.len());
                world.versions += 1;
                let (version, bad) = (world.versions, dice.chance(30));
                apps::push(Arc::make_mut(&mut world.snapshot.apps[number]), version, bad);
            }
        }
        _ => {
            let number = some(dice, world.snapshot.apps.len());
            apps::scale(Arc::make_mut(&mut world.snapshot.apps[number]), dice);
        }
    }
    world.run(5_000 + dice.below(MINUTE_MS));
    if dice.chance(50) {
        calm(world);
    }
}

/// Machines are gone: with all that ran on them, or only for everybody else.
pub(super) fn lose_machines(world: &mut World, dice: &mut Dice, n_machines: usize, dead: bool) {
    for _ in 0..n_machines {
        let number = some(dice, world.machines.len());
        world.network.cut_off.insert(number);
        if dead {
            world.machines[number].reboot();
        }
    }
}

/// The control plane loses all it knows, is away, and begins anew with what the disk has.
pub(super) fn lose_state(world: &mut World, for_ms: u64) {
    world.fleet = None;
    world.run(for_ms);
    world.fleet = Some(Fleet::new(world.machines.len(), world.fault, world.now_ms));
}

/// Everything that was wrong is right again.
pub(super) fn calm(world: &mut World) {
    world.network.cut_off.clear();
    (world.network.loses, world.network.doubles, world.network.delays_ms) = (0, 0, 0);
    for machine in &mut world.machines {
        machine.weather = Weather::default();
    }
}

fn some(dice: &mut Dice, n: usize) -> usize {
    usize::try_from(dice.below(n as u64)).unwrap_or(0)
}
