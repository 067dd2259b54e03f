//! Lathe compiled by Lathe, stage by stage. The stages come with the self-hosting work; until then
//! this crate only holds their place in the order of the crates: it knows what a slug is, and drives
//! everything else through the executable inside the slug before.
