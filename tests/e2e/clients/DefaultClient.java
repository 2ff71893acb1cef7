// java.net.http.HttpClient as it is without any setting: it offers h2c with the first request. Usage: URL TOKEN BODY COUNT.

import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpResponse;

public class DefaultClient {
  public static void main(String[] arguments) throws Exception {
    HttpClient client = HttpClient.newHttpClient();
    HttpRequest request = HttpRequest.newBuilder(URI.create(arguments[0]))
        .header("Authorization", "Bearer " + arguments[1])
        .header("Content-Type", "application/json")
        .header("Accept", "application/json, text/event-stream")
        .POST(HttpRequest.BodyPublishers.ofString(arguments[2]))
        .build();
    System.out.println(client.version());
    for (int sent = 0; sent < Integer.parseInt(arguments[3]); sent++) {
      HttpResponse<String> response = client.send(request, HttpResponse.BodyHandlers.ofString());
      System.out.println(response.statusCode() + " " + response.version() + " " + response.body());
    }
  }
}
