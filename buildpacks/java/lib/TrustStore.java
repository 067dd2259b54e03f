import java.nio.file.Files;
import java.nio.file.Paths;
import java.security.KeyStore;
import java.security.cert.Certificate;
import java.security.cert.CertificateFactory;

/** Writes the certificates of a PEM bundle to a new key store: `TrustStore BUNDLE STORE`. */
public final class TrustStore {
    public static void main(String[] arguments) throws Exception {
        // Without a password the store holds no key of ours, no salt and no time: it is the same each time.
        System.setProperty("keystore.pkcs12.certProtectionAlgorithm", "NONE");
        System.setProperty("keystore.pkcs12.macAlgorithm", "NONE");
        KeyStore store = KeyStore.getInstance("PKCS12");
        store.load(null, null);
        int count = 0;
        try (var bundle = Files.newInputStream(Paths.get(arguments[0]))) {
            for (Certificate one : CertificateFactory.getInstance("X.509").generateCertificates(bundle)) {
                store.setCertificateEntry(String.format("ca-%04d", count++), one);
            }
        }
        try (var file = Files.newOutputStream(Paths.get(arguments[1]))) {
            store.store(file, "changeit".toCharArray());
        }
    }
}
