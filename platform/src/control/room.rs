//! Whether what is asked for fits on the machine beside what others were promised.

use crate::state::model::Formation;
use crate::state::{StateError, Tx, formation};
use lathe_dynos::class::{Capacity, Class, Classes, Demand, Shortage};

/// Everything that the formations of all apps were promised. Classes that no longer exist are
/// promised nothing: their dynos do not start.
pub fn promised(tx: &Tx<'_>, classes: &Classes) -> Result<Demand, StateError> {
    let sizes = formation::sizes(tx)?;
    let known = sizes.iter().filter_map(|(size, count)| Some((classes.named(size)?, count)));
    Ok(known.map(|(class, count)| Demand::from(&class).times(*count)).sum())
}

/// Whether a process type may have so many dynos of `class`, after it has been given them.
/// Whoever asks for less than before is not refused, however full the machine is.
pub fn grown(
    capacity: &Capacity,
    promised: Demand,
    (before, class_before): (&Formation, Option<&Class>),
    (quantity, class): (u32, &Class),
) -> Result<(), StateError> {
    let had =
        class_before.map_or(Demand::default(), |class| Demand::from(class).times(before.quantity));
    let wants = Demand::from(class).times(quantity);
    if had.or(wants) == had {
        return Ok(());
    }
    let mut others = promised.without(wants);
    for number in 1..=quantity {
        if let Err(shortage) = capacity.admit(&others, class) {
            let what = format!("Cannot scale {} to {quantity}", before.process_type);
            let fit = if number > 1 { format!(" ({} fit)", number - 1) } else { String::new() };
            return Err(refused(&format!("{what}{fit}"), &shortage));
        }
        others += Demand::from(class);
    }
    Ok(())
}

/// Whether one more dyno of `class` fits beside the formations.
pub fn one_more(capacity: &Capacity, promised: Demand, class: &Class) -> Result<(), StateError> {
    let admitted = capacity.admit(&promised, class);
    admitted.map_err(|shortage| refused("Cannot run that", &shortage))
}

fn refused(what: &str, shortage: &Shortage) -> StateError {
    StateError::Refused(format!(
        "{what}: {shortage}. Scale something down or choose a smaller dyno type; the operator can \
         promise more of the machine with dynos.memory_percent and dynos.cpu_percent"
    ))
}
