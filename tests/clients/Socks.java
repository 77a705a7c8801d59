import java.io.InputStream;
import java.net.Authenticator;
import java.net.HttpURLConnection;
import java.net.InetSocketAddress;
import java.net.PasswordAuthentication;
import java.net.Proxy;
import java.net.URI;

public class Socks {
    public static void main(String[] arguments) throws Exception {
        URI proxy = URI.create(arguments[0]);
        String[] credentials = proxy.getUserInfo().split(":", 2);
        Authenticator.setDefault(new Authenticator() {
            @Override
            protected PasswordAuthentication getPasswordAuthentication() {
                return new PasswordAuthentication(credentials[0], credentials[1].toCharArray());
            }
        });
        Proxy socks = new Proxy(Proxy.Type.SOCKS, new InetSocketAddress(proxy.getHost(), proxy.getPort()));
        HttpURLConnection answer = (HttpURLConnection) URI.create(arguments[1]).toURL().openConnection(socks);
        System.out.println(answer.getResponseCode());
        try (InputStream body = answer.getInputStream()) {
            System.out.println(new String(body.readAllBytes()));
        }
    }
}
