/* The mgm driver `@NAME@`: an API server that is a count in memory. Put your API server where the notes say so. */
#define _POSIX_C_SOURCE 200809L

#include "capstan_driver.h"
#include "capstan_json.h"

#include <pthread.h>

CAPSTAN_MANIFEST(
    "{\"name\":\"@NAME@\",\"version\":\"0.1.0\",\"vendor\":\"Your company\",\"description\":\"Registers nodes with your API server\","
    "\"kind\":\"mgm\",\"interface\":\"mgm/1\",\"target\":\"" CAPSTAN_TARGET "\",\"panic\":\"none\","
    "\"serial_by\":\"instance\",\"epoch\":1,\"methods\":[\"get_free_count\",\"add_node\",\"is_online\",\"get_url\"],\"calls\":[],\"secrets\":[],"
    "\"config_schema\":{\"type\":\"object\",\"properties\":{\"url\":{\"type\":\"string\",\"description\":"
    "\"Where the API server is\"}},\"additionalProperties\":false}}");

#define FAIL(code, message) \
    capstan_reply_static(CAPSTAN_ERROR, "{\"code\":\"" code "\",\"message\":\"" message "\"}")

static capstan_reply out_of_memory(void) {
    return capstan_reply_static(
        CAPSTAN_ERROR, "{\"code\":\"unavailable\",\"message\":\"the driver is out of memory\",\"retry\":\"now\"}");
}

static capstan_reply answer(text *body) {
    size_t len = 0;
    char *bytes = text_take(body, &len);
    return bytes == NULL ? out_of_memory() : capstan_reply_malloced(CAPSTAN_OK, bytes, len);
}

/* A copy of a JSON text, quotes included: it goes out again as it is. Its `at` is NULL when there is no memory. */
static json keep(json value) {
    char *bytes = malloc(value.len + 1);
    json kept = {bytes, value.len};
    if (bytes != NULL) {
        memcpy(bytes, value.at, value.len);
    }
    return kept;
}

struct capstan_instance {
    const capstan_host_table *host; /* valid until close */
    pthread_mutex_t lock;           /* guards what follows */
    size_t count;
    json *names;
};

static capstan_reply add_node(capstan_instance *self, json params) {
    json name, address;
    if (!json_member(params, "name", &name) || !json_is_text(name)) {
        return FAIL("invalid_argument", "name is missing or no text");
    }
    if (!json_member(params, "address", &address) || !json_is_text(address)) {
        return FAIL("invalid_argument", "address is missing or no text");
    }
    /* Here: register the node. One that is there already is no error: the host may repeat a call. */
    for (size_t i = 0; i < self->count; i++) {
        if (json_same_text(self->names[i], name)) {
            return capstan_reply_static(CAPSTAN_OK, "{\"accepted\":true}");
        }
    }
    json *names = realloc(self->names, (self->count + 1) * sizeof *names);
    if (names == NULL) {
        return out_of_memory();
    }
    self->names = names;
    json kept = keep(name);
    if (kept.at == NULL) {
        return out_of_memory();
    }
    self->names[self->count++] = kept;
    return capstan_reply_static(CAPSTAN_OK, "{\"accepted\":true}");
}

/* Runs one method, with the lock held. */
static capstan_reply run(capstan_instance *self, uint64_t call_id, capstan_bytes method, json params) {
    (void)call_id;
    if (capstan_is(method, "add_node")) {
        return add_node(self, params);
    }
    if (capstan_is(method, "get_free_count")) {
        text body = {0};
        text_add_number(&body, self->count);
        return answer(&body);
    }
    if (capstan_is(method, "is_online")) {
        return capstan_reply_static(CAPSTAN_OK, "true");
    }
    if (capstan_is(method, "get_url")) {
        return capstan_reply_static(CAPSTAN_OK, "\"http://127.0.0.1:8889\"");
    }
    return FAIL("not_supported", "the driver has no such method");
}

/* What the instance holds; nobody calls it any more. */
static void free_state(capstan_instance *self) {
    for (size_t i = 0; i < self->count; i++) {
        free((char *)self->names[i].at);
    }
    free(self->names);
}
