/** Nothing to start. */
final class Library {
}
