/* The database driver `@NAME@`: its servers are entries in the host's state. Put your server where the notes say so. */
#define _POSIX_C_SOURCE 200809L

#include "capstan_driver.h"
#include "capstan_json.h"

#include <pthread.h>

CAPSTAN_MANIFEST(
    "{\"name\":\"@NAME@\",\"version\":\"0.1.0\",\"vendor\":\"Your company\",\"description\":\"Runs your database server\","
    "\"kind\":\"database\",\"interface\":\"database/1\",\"target\":\"" CAPSTAN_TARGET "\",\"panic\":\"none\","
    "\"serial_by\":\"instance\",\"epoch\":1,\"methods\":[\"initialise\",\"start\",\"stop\",\"status\"],\"calls\":[],\"secrets\":[],"
    "\"config_schema\":{\"type\":\"object\",\"properties\":{\"data_directory\":{\"type\":\"string\",\"description\":"
    "\"Folder of the server's data\"}},\"additionalProperties\":false}}");

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

struct capstan_instance {
    const capstan_host_table *host; /* valid until close */
    pthread_mutex_t lock;           /* one call at a time */
};

/* Calls a host service with {"key": "server/NAME"} and, when `state` is not NULL, "value": state. */
static capstan_reply ask(capstan_instance *self, uint64_t call_id, const char *service, json server, const char *state) {
    text body = {0};
    size_t len = 0;
    text_add(&body, "{\"key\":\"server/");
    text_add_bytes(&body, server.at + 1, server.len - 2);
    text_add(&body, "\"");
    if (state != NULL) {
        text_add(&body, ",\"value\":\"");
        text_add(&body, state);
        text_add(&body, "\"");
    }
    text_add(&body, "}");
    char *bytes = text_take(&body, &len);
    if (bytes == NULL) {
        return out_of_memory();
    }
    capstan_bytes sent = {(const uint8_t *)bytes, len};
    capstan_reply reply = self->host->call(self->host->context, call_id, capstan_text(service), sent);
    free(bytes);
    return reply;
}

/* The server's state: one of these words. NULL when the host cannot tell, with its error in `fault`. */
static const char *state_of(capstan_instance *self, uint64_t call_id, json server, capstan_reply *fault) {
    static const char *const words[] = {"stopped", "running"};
    capstan_reply reply = ask(self, call_id, "state.get", server, NULL);
    json whole = {(const char *)reply.body.data, reply.body.len}, value;
    if (reply.status != CAPSTAN_OK) {
        *fault = reply;
        return NULL;
    }
    const char *found = "absent";
    if (json_check(whole) && json_member(whole, "value", &value)) {
        for (size_t i = 0; i < sizeof words / sizeof *words; i++) {
            found = json_text_is(value, words[i]) ? words[i] : found;
        }
    }
    capstan_reply_free(reply);
    return found;
}

static int is_name(json server) {
    if (server.len < 3 || server.len > 66) {
        return 0;
    }
    for (size_t i = 1; i + 1 < server.len; i++) {
        char c = server.at[i];
        if (!((c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-' || c == '_')) {
            return 0;
        }
    }
    return 1;
}

static capstan_reply status_of(const char *state) {
    text body = {0};
    text_add(&body, "{\"state\":\"");
    text_add(&body, state);
    text_add(&body, "\",\"role\":\"standalone\"}");
    return answer(&body);
}

/* Runs one method, with the lock held. */
static capstan_reply run(capstan_instance *self, uint64_t call_id, capstan_bytes method, json params) {
    int is_start = capstan_is(method, "start"), is_stop = capstan_is(method, "stop");
    int is_initialise = capstan_is(method, "initialise"), is_status = capstan_is(method, "status");
    json server;
    capstan_reply fault;
    if (!is_start && !is_stop && !is_initialise && !is_status) {
        return FAIL("not_supported", "the driver has no such method");
    }
    if (!json_member(params, "server", &server) || !json_is_text(server) || !is_name(server)) {
        return FAIL("invalid_argument", "server is a name of 1 to 64 of a-z, 0-9, - and _");
    }
    const char *state = state_of(self, call_id, server, &fault);
    if (state == NULL) {
        return fault;
    }
    if (is_status) {
        return status_of(state);
    }
    int is_absent = strcmp(state, "absent") == 0;
    if (!is_initialise && is_absent) {
        return FAIL("not_found", "the server was never initialised");
    }
    if (is_initialise && !is_absent) {
        return capstan_reply_static(CAPSTAN_OK, "null");
    }
    /* Here: make, start or stop the server; program.start runs it so that it outlives this driver. */
    state = is_start ? "running" : "stopped";
    fault = ask(self, call_id, "state.put", server, state);
    if (fault.status != CAPSTAN_OK) {
        return fault;
    }
    capstan_reply_free(fault);
    return is_start ? status_of(state) : capstan_reply_static(CAPSTAN_OK, "null");
}

/* What the instance holds; nobody calls it any more. */
static void free_state(capstan_instance *self) {
    (void)self; /* The host keeps it. */
}
