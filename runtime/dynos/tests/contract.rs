//! What every engine promises, tried on each of them: native, docker and the fake.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking, in its helpers too")]

#[path = "native/world.rs"]
#[expect(dead_code, reason = "the engine's own tests use the rest of it")]
mod world;

#[path = "contract/bench.rs"]
mod bench;
#[path = "contract/cases.rs"]
mod cases;
#[path = "contract/faults.rs"]
mod faults;
#[path = "contract/kernel.rs"]
mod kernel;
#[path = "contract/script.rs"]
mod script;
#[path = "contract/subject.rs"]
mod subject;

#[path = "contract/docker.rs"]
mod docker;
#[path = "contract/fake.rs"]
mod fake;
#[path = "contract/native.rs"]
mod native;

use docker::Dockered;

/// One test for each case, named after the engine: `native::a_dyno_starts_speaks_and_ends`.
macro_rules! tests {
    (one_after_the_other $engine:ident, $subject:ty, $($file:ident: $($case:ident)*;)*) => {
        /// With one daemon for all of them, which some of them kill.
        #[tokio::test(flavor = "multi_thread")]
        async fn $engine() {
            let Some(daemon) = crate::bench::Bench::shared() else { return };
            $($(
                println!(stringify!($case));
                crate::$file::$case::<$subject>().await;
            )*)*
            println!("a_start_that_was_cut_off_is_finished");
            crate::docker::a_start_that_was_cut_off_is_finished().await;
            drop(daemon);
        }
    };
    ($engine:ident, $subject:ty, $($file:ident: $($case:ident)*;)*) => {
        mod $engine {
            $($(
                #[tokio::test(flavor = "multi_thread")]
                async fn $case() {
                    crate::$file::$case::<$subject>().await;
                }
            )*)*
        }
    };
}

/// What even an engine without a kernel keeps, and more where there is one.
macro_rules! contract {
    ($($order:ident)? => $engine:ident, $subject:ty $(, $file:ident: $($case:ident)*)*) => {
        tests!(
            $($order)? $engine, $subject,
            cases:
                a_dyno_starts_speaks_and_ends
                every_status_comes_back_as_it_was
                sigterm_is_obeyed_handled_or_ignored_and_kill_is_the_end
                an_identity_starts_once
                the_unknown_is_said_to_be_unknown
                an_ended_dyno_takes_every_call
                a_running_dyno_is_not_forgotten
                a_listening_dyno_takes_connections
                too_much_memory_is_told_as_such;
            faults:
                another_engine_finds_everything
                an_end_that_nobody_saw_is_known_afterwards
                no_line_is_lost_from_one_engine_to_the_next
                what_was_removed_behind_our_back_is_noticed
                a_daemon_that_is_killed_costs_no_dyno
                a_daemon_that_is_stopped_costs_no_dyno;
            $($file: $($case)*;)*
        );
    };
}

/// What takes real processes.
macro_rules! kernel_contract {
    ($($order:ident)? => $engine:ident, $subject:ty) => {
        contract!(
            $($order)? => $engine, $subject,
            kernel:
                a_terminal_has_a_size_takes_input_and_interrupts
                given_pipes_carry_input_output_and_the_end
                a_fork_bomb_stays_small
                what_a_dyno_writes_is_bounded_and_gone_with_it
                the_environment_is_the_configs_and_the_dynos
                a_command_runs_inside_a_dyno_as_its_own_process_would
                who_stops_accepting_is_found
        );
    };
}

contract!(=> on_fake, crate::fake::Pretended);
kernel_contract!(=> on_native, crate::native::Native);
kernel_contract!(one_after_the_other => docker_keeps_the_contract, Dockered);
