//! Routes without a state: the last table, sent to where its dynos are now. Pure.

use super::routing::may_serve;
use super::slots::Place;
use lathe_dynos::spec::Observed;
use lathe_router::{AppRoute, Availability, Routes, Target};
use std::net::SocketAddr;
use std::sync::Arc;

/// The last table with the dynos that are up in the places it named. A place is known again by its
/// port; where none of them is up (the table was saved while the app booted), those of the oldest
/// release that is.
pub fn reroute(last: &Routes, observed: &Observed) -> Routes {
    let apps = last.apps.iter().map(|(id, route)| {
        let up = up(id.as_str(), observed);
        let named = |(place, target): &(Place, Target)| {
            let mut before = route.targets.iter();
            let before = before.find(|before| before.address.port() == place.port())?;
            Some(Target { weight: before.weight, ..target.clone() })
        };
        let mut targets: Vec<Target> = up.iter().filter_map(named).collect();
        if targets.is_empty() {
            let oldest = up.iter().map(|(place, _)| place.release).min();
            let of_oldest = up.iter().filter(|(place, _)| Some(place.release) == oldest);
            targets = of_oldest.map(|(_, target)| target.clone()).collect();
        }
        (id.clone(), Arc::new(moved(route, targets)))
    });
    Routes { generation: last.generation, hosts: last.hosts.clone(), apps: apps.collect() }
}

fn moved(route: &AppRoute, targets: Vec<Target>) -> AppRoute {
    let availability = match route.availability {
        Availability::Serving | Availability::Booting | Availability::Crashed => {
            if targets.is_empty() { Availability::Booting } else { Availability::Serving }
        }
        other => other,
    };
    let targets = if availability == Availability::Serving { targets } else { Vec::new() };
    AppRoute { name: route.name.clone(), availability, release: route.release, targets }
}

/// The app's web dynos that are up, in their order.
fn up(app: &str, observed: &Observed) -> Vec<(Place, Target)> {
    let mut up: Vec<(Place, Target)> = observed
        .dynos
        .range(Place::slots_of(app))
        .filter(|(_, dyno)| may_serve(dyno))
        .filter_map(|(slot, dyno)| {
            let place = Place::parse(slot).filter(Place::is_web)?;
            let target = Target {
                dyno: dyno.id?.to_string(),
                name: place.dyno_name(),
                address: SocketAddr::from((dyno.address?, place.port())),
                weight: 1,
            };
            Some((place, target))
        })
        .collect();
    up.sort_by_key(|(place, _)| (place.release, place.index));
    up
}

#[cfg(test)]
mod tests {
    use super::*;
    use lathe_dynos::spec::{DynoId, DynoState, ObservedDyno};
    use lathe_logs::AppId;
    use std::net::Ipv4Addr;

    fn place(release: u32, index: u32) -> Place {
        let (app, process_type) = ("a".to_owned(), "web".to_owned());
        Place { app, release, process_type, index, restarts: (0, 0) }
    }

    fn observed(places: &[(Place, DynoState)]) -> Observed {
        let dyno = |n: usize, state| ObservedDyno {
            id: Some(DynoId::random()),
            state,
            address: Some(Ipv4Addr::new(10, 0, 0, u8::try_from(n).unwrap())),
            since_ms: 0,
            crashes: 0,
            ready: state == DynoState::Up,
            ailing: None,
            last_end: None,
        };
        let dynos = places.iter().enumerate();
        let dynos = dynos.map(|(n, (place, state))| (place.slot(), dyno(n, *state)));
        Observed { generation: 0, dynos: dynos.collect() }
    }

    fn last(availability: Availability, places: &[Place]) -> Routes {
        let target = |place: &Place| Target {
            dyno: "before".into(),
            name: place.dyno_name(),
            address: SocketAddr::from(([10, 9, 9, 9], place.port())),
            weight: 1,
        };
        let targets = places.iter().map(target).collect();
        let route = Arc::new(AppRoute { name: "app".into(), availability, release: 1, targets });
        Routes {
            generation: 7,
            hosts: [("app.localhost".to_owned(), AppId::new("a"))].into(),
            apps: [(AppId::new("a"), route)].into(),
        }
    }

    #[test]
    fn requests_follow_the_dynos() {
        use Availability::{Booting, Crashed, Maintenance, NoWeb, Serving};
        use DynoState::{Starting, Up};
        let (one, two, next) = (place(3, 1), place(3, 2), place(4, 1));
        // What the last table said and named, what is there now, and who is sent to.
        let cases = [
            (Serving, vec![&one, &two], vec![(&one, Up), (&two, Up)], Serving, vec!["0", "1"]),
            (Serving, vec![&one, &two], vec![(&one, Up), (&two, Starting)], Serving, vec!["0"]),
            (Serving, vec![&one], vec![(&one, Starting)], Booting, vec![]),
            (Serving, vec![&one], vec![(&one, Up), (&next, Up)], Serving, vec!["0"]),
            (Serving, vec![&next], vec![(&one, Up), (&next, Up)], Serving, vec!["1"]),
            (Booting, vec![], vec![(&one, Up), (&next, Up)], Serving, vec!["0"]),
            (Crashed, vec![], vec![(&one, Up)], Serving, vec!["0"]),
            (Maintenance, vec![], vec![(&one, Up)], Maintenance, vec![]),
            (NoWeb, vec![], vec![], NoWeb, vec![]),
        ];
        for (said, named, there, availability, expected) in cases {
            let named: Vec<Place> = named.into_iter().cloned().collect();
            let there: Vec<_> = there.into_iter().map(|(p, state)| (p.clone(), state)).collect();
            let table = reroute(&last(said, &named), &observed(&there));
            let route = &table.apps[&AppId::new("a")];
            let hosts: Vec<String> = route
                .targets
                .iter()
                .map(|target| target.address.ip().to_string().rsplit('.').next().unwrap().into())
                .collect();
            assert_eq!(
                (route.availability, hosts),
                (availability, expected.iter().map(|s| (*s).to_owned()).collect()),
                "{said:?} {named:?} {there:?}"
            );
            assert_eq!(table.hosts.len(), 1);
        }
    }
}
