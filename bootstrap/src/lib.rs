//! Lathe compiled by Lathe, stage by stage. The stages come with the self-hosting work; until then
//! this crate only holds their place in the order of the crates: it knows what a slug is, and drives
//! everything else through the executable inside the slug before.

#[cfg(test)]
mod tests {
    /// Stages are told apart by the digest of their slug, and by nothing else.
    #[test]
    fn a_stage_is_known_by_the_digest_of_its_slug() {
        let one = lathe_slug::SlugId::from_digest([1; 32]);
        assert_eq!(one.to_string().parse::<lathe_slug::SlugId>().ok(), Some(one));
    }
}
