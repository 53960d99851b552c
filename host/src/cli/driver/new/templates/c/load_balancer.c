/* The load balancer driver `@NAME@`: it keeps what it is told in memory. Put your appliance where the notes say so. */
#define _POSIX_C_SOURCE 200809L

#include "capstan_driver.h"
#include "capstan_json.h"

#include <pthread.h>

CAPSTAN_MANIFEST(
    "{\"name\":\"@NAME@\",\"version\":\"0.1.0\",\"vendor\":\"Your company\",\"description\":\"Balances on your appliance\","
    "\"kind\":\"load_balancer\",\"interface\":\"load_balancer/1\",\"target\":\"" CAPSTAN_TARGET "\",\"panic\":\"none\","
    "\"serial_by\":\"instance\",\"epoch\":1,\"methods\":[\"apply\",\"observe\",\"suspend\",\"enable\",\"delete\"],\"calls\":[],\"secrets\":[],"
    "\"config_schema\":{\"type\":\"object\",\"properties\":{\"address\":{\"type\":\"string\",\"description\":"
    "\"Where the appliance is\"}},\"additionalProperties\":false}}");

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

/* One load balancer of a device; both texts as JSON wrote them. */
typedef struct balancer {
    json device, id;
    uint64_t generation;
    int is_suspended;
} balancer;

struct capstan_instance {
    const capstan_host_table *host; /* valid until close */
    pthread_mutex_t lock;           /* guards what follows */
    size_t count;
    balancer *balancers;
};

static void balancer_free(balancer *gone) {
    free((char *)gone->device.at);
    free((char *)gone->id.at);
}

/* The newest generation of the device. */
static uint64_t generation_of(const capstan_instance *self, json device) {
    uint64_t newest = 0;
    for (size_t i = 0; i < self->count; i++) {
        const balancer *each = &self->balancers[i];
        if (json_same_text(each->device, device) && each->generation > newest) {
            newest = each->generation;
        }
    }
    return newest;
}

/* Forgets the load balancers of the device, or the one with this id. */
static void forget(capstan_instance *self, json device, const json *only) {
    size_t kept = 0;
    for (size_t i = 0; i < self->count; i++) {
        balancer *each = &self->balancers[i];
        if (json_same_text(each->device, device) && (only == NULL || json_same_text(each->id, *only))) {
            balancer_free(each);
        } else {
            self->balancers[kept++] = *each;
        }
    }
    self->count = kept;
}

/* What there is of the device: `apply`'s results, or with states what `observe` sees. */
static capstan_reply show(const capstan_instance *self, json device, int with_states) {
    text body = {0};
    int is_first = 1;
    if (with_states) {
        text_add(&body, "{\"generation\":");
        text_add_number(&body, generation_of(self, device));
        text_add(&body, ",\"load_balancers\":[");
    } else {
        text_add(&body, "{\"method\":\"memory\",\"load_balancers\":[");
    }
    for (size_t i = 0; i < self->count; i++) {
        const balancer *each = &self->balancers[i];
        if (!json_same_text(each->device, device)) {
            continue;
        }
        text_add(&body, is_first ? "{\"id\":" : ",{\"id\":");
        text_add_json(&body, each->id);
        if (with_states) {
            text_add(&body, each->is_suspended ? ",\"state\":\"suspended\"" : ",\"state\":\"running\"");
        }
        text_add(&body, ",\"members\":[]}");
        is_first = 0;
    }
    text_add(&body, "]}");
    return answer(&body);
}

static capstan_reply apply(capstan_instance *self, uint64_t call_id, json device, uint64_t generation, json params) {
    json list, entry, id, state;
    size_t more = 0;
    if (!json_member(params, "load_balancers", &list) || !json_is_list(list)) {
        return FAIL("invalid_argument", "load_balancers is missing or no list");
    }
    for (json rest = list; json_next(&rest, &entry); more++) {
        if (!json_member(entry, "id", &id) || !json_is_text(id)) {
            return FAIL("invalid_argument", "a load balancer has no id");
        }
    }
    if (capstan_cancelled(self->host, call_id)) {
        return FAIL("cancelled", "the call was cancelled before anything was changed");
    }
    balancer *balancers = realloc(self->balancers, (self->count + more + 1) * sizeof *balancers);
    if (balancers == NULL) {
        return out_of_memory();
    }
    self->balancers = balancers;
    /* Here: make the appliance what `list` says. Applied twice is applied once. */
    forget(self, device, NULL);
    for (json rest = list; json_next(&rest, &entry);) {
        json_member(entry, "id", &id);
        int is_suspended = json_member(entry, "admin_state", &state) && json_text_is(state, "suspended");
        balancer next = {keep(device), keep(id), generation, is_suspended};
        if (next.device.at == NULL || next.id.at == NULL) {
            balancer_free(&next);
            return out_of_memory();
        }
        self->balancers[self->count++] = next;
    }
    return show(self, device, 0);
}

/* Runs one method, with the lock held. */
static capstan_reply run(capstan_instance *self, uint64_t call_id, capstan_bytes method, json params) {
    int is_apply = capstan_is(method, "apply"), is_observe = capstan_is(method, "observe");
    int is_delete = capstan_is(method, "delete"), is_suspend = capstan_is(method, "suspend");
    json device, number, one;
    const json *only = NULL;
    uint64_t generation = 0;
    if (!is_apply && !is_observe && !is_delete && !is_suspend && !capstan_is(method, "enable")) {
        return FAIL("not_supported", "the driver has no such method");
    }
    if (!json_member(params, "device", &device) || !json_is_text(device)) {
        return FAIL("invalid_argument", "device is missing or no text");
    }
    if (json_member(params, "generation", &number) && !json_number(number, &generation)) {
        return FAIL("invalid_argument", "generation is no whole number");
    }
    if (is_observe) {
        return show(self, device, 1);
    }
    if (generation < generation_of(self, device) && (is_apply || generation > 0)) {
        return FAIL("conflict", "the generation is older than the one that runs");
    }
    if (is_apply) {
        return apply(self, call_id, device, generation, params);
    }
    if (json_member(params, "load_balancer", &one) && !json_is_null(one)) {
        if (!json_is_text(one)) {
            return FAIL("invalid_argument", "load_balancer is no text");
        }
        only = &one;
    }
    /* Here: tell the appliance. */
    for (size_t i = 0; i < self->count; i++) {
        balancer *each = &self->balancers[i];
        if (json_same_text(each->device, device) && (only == NULL || json_same_text(each->id, *only))) {
            each->is_suspended = is_suspend;
            each->generation = generation > each->generation ? generation : each->generation;
        }
    }
    if (is_delete) {
        forget(self, device, only);
    }
    return show(self, device, 0);
}

/* What the instance holds; nobody calls it any more. */
static void free_state(capstan_instance *self) {
    for (size_t i = 0; i < self->count; i++) {
        balancer_free(&self->balancers[i]);
    }
    free(self->balancers);
}
