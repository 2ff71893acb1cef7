// C: cJSON, which ignores the case of keys, takes the first of equal ones, and ends a key at a zero byte.
// A line of hexadecimal in, a line of readings out.
#include <cjson/cJSON.h>
#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void add(cJSON *reading, const cJSON *object, const char *key) {
  const cJSON *item = cJSON_GetObjectItem(object, key);
  if (!cJSON_IsString(item)) {
    cJSON_AddItemToArray(reading, cJSON_CreateNull());
    return;
  }
  char *text = strdup(item->valuestring), *start = text;
  while (isspace((unsigned char)*start)) start++;
  char *end = start + strlen(start);
  while (end > start && isspace((unsigned char)end[-1])) *--end = 0;
  cJSON_AddItemToArray(reading, cJSON_CreateString(start));
  free(text);
}

int main(void) {
  char *line = NULL;
  size_t room = 0;
  ssize_t length;
  while ((length = getline(&line, &room, stdin)) > 0) {
    size_t size = (size_t)length / 2;
    char *body = calloc(size + 1, 1);
    for (size_t i = 0; i < size; i++) {
      unsigned byte;
      sscanf(line + 2 * i, "%2x", &byte);
      body[i] = (char)byte;
    }
    cJSON *answer = cJSON_CreateObject(), *message = cJSON_ParseWithLength(body, size), *reading;
    if (message != NULL) {
      const cJSON *params = cJSON_GetObjectItem(message, "params");
      reading = cJSON_CreateArray();
      add(reading, message, "method");
      add(reading, params, "name");
      add(reading, cJSON_GetObjectItem(params, "_meta"), "io.modelcontextprotocol/protocolVersion");
    } else {
      reading = cJSON_CreateObject();
      cJSON_AddStringToObject(reading, "error", "no JSON");
    }
    cJSON_AddItemToObject(answer, "cJSON", reading);
    char *text = cJSON_PrintUnformatted(answer);
    puts(text);
    fflush(stdout);
    free(text);
    free(body);
    cJSON_Delete(message);
    cJSON_Delete(answer);
  }
  return 0;
}
