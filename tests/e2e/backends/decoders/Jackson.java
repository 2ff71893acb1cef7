// Java: Jackson with records and without regard to the case of keys, in two languages (Turkish has four letters i).
// A line of hexadecimal in, a line of readings out.

import com.fasterxml.jackson.annotation.JsonProperty;
import com.fasterxml.jackson.databind.DeserializationFeature;
import com.fasterxml.jackson.databind.MapperFeature;
import com.fasterxml.jackson.databind.ObjectMapper;
import com.fasterxml.jackson.databind.json.JsonMapper;
import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.util.Arrays;
import java.util.HexFormat;
import java.util.LinkedHashMap;
import java.util.Locale;
import java.util.Map;

public class Jackson {
  public static class Meta {
    @JsonProperty("io.modelcontextprotocol/protocolVersion") public String version;
  }

  public static class Params {
    @JsonProperty("name") public String name;
    @JsonProperty("uri") public String uri;
    @JsonProperty("taskId") public String taskId;
    @JsonProperty("arguments") public Object arguments;
    @JsonProperty("_meta") public Meta meta;
  }

  public static class Message {
    @JsonProperty("jsonrpc") public String jsonrpc;
    @JsonProperty("id") public Object id;
    @JsonProperty("method") public String method;
    @JsonProperty("params") public Params params;
  }

  static ObjectMapper mapper(String language) {
    return JsonMapper.builder()
        .enable(MapperFeature.ACCEPT_CASE_INSENSITIVE_PROPERTIES)
        .disable(DeserializationFeature.FAIL_ON_UNKNOWN_PROPERTIES)
        .defaultLocale(Locale.forLanguageTag(language))
        .build();
  }

  static String trim(String text) {
    return text == null ? null : text.trim();
  }

  static Object read(ObjectMapper mapper, byte[] body) {
    try {
      Message message = mapper.readValue(body, Message.class);
      Params params = message.params == null ? new Params() : message.params;
      String version = params.meta == null ? null : params.meta.version;
      return Arrays.asList(trim(message.method), trim(params.name), trim(version));
    } catch (Exception | StackOverflowError error) {
      return Map.of("error", String.valueOf(error));
    }
  }

  public static void main(String[] arguments) throws Exception {
    ObjectMapper english = mapper("en"), turkish = mapper("tr");
    BufferedReader lines = new BufferedReader(new InputStreamReader(System.in));
    for (String line; (line = lines.readLine()) != null; ) {
      byte[] body = HexFormat.of().parseHex(line);
      Map<String, Object> readings = new LinkedHashMap<>();
      readings.put("jackson", read(english, body));
      readings.put("jackson, Turkish", read(turkish, body));
      System.out.println(english.writeValueAsString(readings));
    }
  }
}
