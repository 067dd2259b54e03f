//! Random identities of requests: random bytes come from the kernel many at a time.

use std::cell::RefCell;
use uuid::{Builder, Uuid};

/// Identities made of one call to the kernel, which costs more than all the rest of them.
const STORE: usize = 64;

thread_local! {
    static STORED: RefCell<Vec<[u8; 16]>> = const { RefCell::new(Vec::new()) };
}

/// A fresh UUID of version 4 (RFC 9562, 5.4).
pub(crate) fn uuid() -> Uuid {
    let random = STORED.with_borrow_mut(|stored| {
        if stored.is_empty() {
            let mut bytes = [[0; 16]; STORE];
            // A kernel without randomness: the uuid crate says so as it sees fit.
            if getrandom::fill(bytes.as_flattened_mut()).is_ok() {
                stored.extend(bytes);
            }
        }
        stored.pop()
    });
    random.map_or_else(Uuid::new_v4, |bytes| Builder::from_random_bytes(bytes).into_uuid())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn none_comes_twice() {
        let many = || (0..10 * STORE).map(|_| uuid()).collect::<Vec<_>>();
        let other = std::thread::spawn(many).join().unwrap();
        let all: HashSet<Uuid> = many().into_iter().chain(other).collect();
        assert_eq!(all.len(), 20 * STORE);
        assert!(all.iter().all(|uuid| uuid.get_version_num() == 4));
    }
}
