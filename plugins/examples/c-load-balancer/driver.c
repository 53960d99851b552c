/*
 * A load balancer driver in C: it balances nothing, but keeps what it was told, as a driver of an appliance would keep
 * what the appliance said. It shows every part of the boundary: the manifest, parameters and replies, errors, a wait that
 * `cancel` ends, log lines, and the host's state service, from which a new instance learns what the last one did.
 *
 *     cc -shared -fPIC -O2 -I ../../../plugin-api/include -o libcapstan_load_balancer_c.so driver.c -pthread
 */
#define _POSIX_C_SOURCE 200809L

#include "capstan_driver.h"
#include "capstan_json.h"

#include <errno.h>
#include <pthread.h>
#include <time.h>

CAPSTAN_MANIFEST(
    "{\"name\":\"c-example\",\"version\":\"0.1.0\",\"vendor\":\"Capstan\","
    "\"description\":\"A load balancer in memory, written in C\","
    "\"kind\":\"load_balancer\",\"interface\":\"load_balancer/1\",\"target\":\"" CAPSTAN_TARGET "\","
    "\"panic\":\"none\",\"serial_by\":\"device\",\"epoch\":1,"
    "\"methods\":[\"apply\",\"observe\",\"suspend\",\"enable\",\"delete\"],\"calls\":[],\"secrets\":[],"
    "\"config_schema\":{\"type\":\"object\",\"properties\":{\"delay_ms\":{\"description\":"
    "\"Milliseconds that the appliance takes for an apply\",\"allOf\":["
    "{\"type\":\"integer\",\"minimum\":0,\"maximum\":600000}]}},\"required\":[],\"additionalProperties\":false}}");

/* One load balancer of the device. Its id stays as JSON wrote it, quotes included, and goes out again as it is. */
typedef struct balancer {
    json id;
    int suspended;
} balancer;

/* What the device carries. `spec` is the copy that name and ids point into; without one there was never a device. */
typedef struct device {
    json name;
    uint64_t generation;
    size_t count;
    balancer *balancers;
    char *spec;
} device;

struct capstan_instance {
    const capstan_host_table *host; /* valid until close */
    uint64_t delay_ms;
    pthread_mutex_t waiting; /* what a wait for `stop` holds, and nothing that takes time: `cancel` takes it too */
    pthread_cond_t stop;
    pthread_mutex_t lock; /* guards what follows */
    device device;
};

static void device_free(device *dev) {
    free(dev->balancers);
    free(dev->spec);
    memset(dev, 0, sizeof *dev);
}

/* ---- replies ---- */

static capstan_reply out_of_memory(void) {
    return capstan_reply_static(
        CAPSTAN_ERROR, "{\"code\":\"unavailable\",\"message\":\"the driver is out of memory\",\"retry\":\"now\"}");
}

static capstan_reply answer(text *body) {
    size_t len = 0;
    char *bytes = text_take(body, &len);
    return bytes == NULL ? out_of_memory() : capstan_reply_malloced(CAPSTAN_OK, bytes, len);
}

#define FAIL(code, message) \
    capstan_reply_static(CAPSTAN_ERROR, "{\"code\":\"" code "\",\"message\":\"" message "\"}")

static capstan_reply older_generation(uint64_t asked, uint64_t running) {
    size_t len = 0;
    text body = {0};
    text_add(&body, "{\"code\":\"conflict\",\"message\":\"generation ");
    text_add_number(&body, asked);
    text_add(&body, " is older than generation ");
    text_add_number(&body, running);
    text_add(&body, ", which runs; nothing was changed\"}");
    char *bytes = text_take(&body, &len);
    return bytes == NULL ? out_of_memory() : capstan_reply_malloced(CAPSTAN_ERROR, bytes, len);
}

/* A result for each load balancer, or for the one with this id. */
static capstan_reply applied(const device *dev, const json *only, const char *how) {
    text body = {0};
    text_add(&body, "{\"load_balancers\":[");
    int first = 1;
    for (size_t i = 0; dev != NULL && i < dev->count; i++) {
        if (only != NULL && !json_same_text(dev->balancers[i].id, *only)) {
            continue;
        }
        text_add(&body, first ? "{\"id\":" : ",{\"id\":");
        text_add_json(&body, dev->balancers[i].id);
        text_add(&body, "}");
        first = 0;
    }
    text_add(&body, "],\"method\":\"");
    text_add(&body, how);
    text_add(&body, "\"}");
    return answer(&body);
}

/* ---- the device ---- */

/* Reads [{"id": TEXT, ...}, ...]. Returns 0, or what is wrong with it. */
static const char *read_balancers(json list, device *dev) {
    json entry;
    size_t count = 0;
    for (json rest = list; json_next(&rest, &entry);) {
        count++;
    }
    dev->balancers = calloc(count == 0 ? 1 : count, sizeof *dev->balancers);
    if (dev->balancers == NULL) {
        return "the driver is out of memory";
    }
    for (json rest = list; json_next(&rest, &entry);) {
        json id, state;
        if (!json_member(entry, "id", &id) || !json_is_text(id)) {
            return "a load balancer has no id";
        }
        for (size_t i = 0; i < dev->count; i++) {
            if (json_same_text(dev->balancers[i].id, id)) {
                return "two load balancers have the same id";
            }
        }
        balancer *next = &dev->balancers[dev->count++];
        next->id = id;
        next->suspended = json_member(entry, "admin_state", &state) && json_text_is(state, "suspended");
    }
    return NULL;
}

/* Takes over what `source` says of a device, and keeps a copy of it. Returns 0, or what is wrong with it. */
static const char *read_device(json source, device *dev) {
    json generation, list;
    memset(dev, 0, sizeof *dev);
    dev->spec = malloc(source.len + 1);
    if (dev->spec == NULL) {
        return "the driver is out of memory";
    }
    memcpy(dev->spec, source.at, source.len);
    source.at = dev->spec;
    if (!json_member(source, "device", &dev->name) || !json_is_text(dev->name)) {
        return "device is missing or no text";
    }
    if (!json_member(source, "generation", &generation) || !json_number(generation, &dev->generation)) {
        return "generation is missing or no whole number";
    }
    if (!json_member(source, "load_balancers", &list) || !json_is_list(list)) {
        return "load_balancers is missing or no list";
    }
    return read_balancers(list, dev);
}

/* Tells the host's state service what the device carries. 0 when it is on the host's disk. */
static int remember(capstan_instance *self, uint64_t call_id, const device *dev) {
    size_t len = 0;
    text body = {0};
    text_add(&body, "{\"key\":\"device\",\"value\":{\"device\":");
    text_add_json(&body, dev->name);
    text_add(&body, ",\"generation\":");
    text_add_number(&body, dev->generation);
    text_add(&body, ",\"load_balancers\":[");
    for (size_t i = 0; i < dev->count; i++) {
        text_add(&body, i == 0 ? "{\"id\":" : ",{\"id\":");
        text_add_json(&body, dev->balancers[i].id);
        text_add(&body, dev->balancers[i].suspended ? ",\"admin_state\":\"suspended\"}" : "}");
    }
    text_add(&body, "]}}");
    char *bytes = text_take(&body, &len);
    if (bytes == NULL) {
        return -1;
    }
    capstan_bytes sent = {(const uint8_t *)bytes, len};
    capstan_reply reply = self->host->call(self->host->context, call_id, capstan_text("state.put"), sent);
    int kept = reply.status == CAPSTAN_OK;
    capstan_reply_free(reply);
    free(bytes);
    return kept ? 0 : -1;
}

/* What an earlier instance remembered; nothing when there was none. 0, or -1 when the host could not tell. */
static int recall(capstan_instance *self) {
    json value;
    capstan_reply reply = self->host->call(self->host->context, 0, capstan_text("state.get"),
                                           capstan_text("{\"key\":\"device\"}"));
    json whole = {(const char *)reply.body.data, reply.body.len};
    int ok = reply.status == CAPSTAN_OK && json_check(whole);
    if (ok && json_member(whole, "value", &value) && read_device(value, &self->device) != NULL) {
        device_free(&self->device);
        ok = 0;
    }
    capstan_reply_free(reply);
    return ok ? 0 : -1;
}

/* Waits for the make-believe appliance; 0 when done, -1 when the call should stop. */
static int wait_for_appliance(capstan_instance *self, uint64_t call_id) {
    struct timespec until;
    clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_sec += (time_t)(self->delay_ms / 1000);
    until.tv_nsec += (long)(self->delay_ms % 1000) * 1000000L;
    if (until.tv_nsec >= 1000000000L) {
        until.tv_sec++;
        until.tv_nsec -= 1000000000L;
    }
    int waited = self->delay_ms == 0 ? ETIMEDOUT : 0;
    int stopped;
    pthread_mutex_lock(&self->waiting);
    while (!(stopped = capstan_cancelled(self->host, call_id)) && waited != ETIMEDOUT) {
        waited = pthread_cond_timedwait(&self->stop, &self->waiting, &until);
    }
    pthread_mutex_unlock(&self->waiting);
    return stopped ? -1 : 0;
}

/* ---- methods ---- */

/* The device of that name; NULL when the instance does not carry it. Called with the lock held. */
static device *named(capstan_instance *self, json name) {
    return self->device.spec != NULL && json_same_text(self->device.name, name) ? &self->device : NULL;
}

/* Puts `wanted` in the place of what is there. Called with the lock held; on any other status than OK `wanted` is the caller's. */
static capstan_reply replace(capstan_instance *self, uint64_t call_id, const device *wanted) {
    const device *there = named(self, wanted->name);
    if (there == NULL && self->device.count > 0) {
        return FAIL("conflict", "the driver carries another device; nothing was changed");
    }
    if (there != NULL && wanted->generation < there->generation) {
        return older_generation(wanted->generation, there->generation);
    }
    if (remember(self, call_id, wanted) != 0) {
        return FAIL("unavailable", "the host could not keep the state; nothing was changed");
    }
    device_free(&self->device);
    self->device = *wanted;
    return applied(&self->device, NULL, "memory");
}

static capstan_reply apply(capstan_instance *self, uint64_t call_id, json params) {
    device wanted;
    const char *fault = read_device(params, &wanted);
    if (fault != NULL) {
        text body = {0};
        size_t len = 0;
        text_add(&body, "{\"code\":\"invalid_argument\",\"message\":\"");
        text_add(&body, fault);
        text_add(&body, "\"}");
        device_free(&wanted);
        char *bytes = text_take(&body, &len);
        return bytes == NULL ? out_of_memory() : capstan_reply_malloced(CAPSTAN_ERROR, bytes, len);
    }
    if (wait_for_appliance(self, call_id) != 0) {
        device_free(&wanted);
        return FAIL("cancelled", "the call was cancelled before anything was changed");
    }
    pthread_mutex_lock(&self->lock);
    /* Asked after the wait, which lets other calls in. */
    capstan_reply reply = replace(self, call_id, &wanted);
    int taken = self->device.spec == wanted.spec;
    pthread_mutex_unlock(&self->lock);
    if (!taken) {
        device_free(&wanted);
        return reply;
    }
    capstan_log(self->host, call_id, CAPSTAN_LOG_INFO, "applied");
    return reply;
}

/* Called with the lock held, as `change` is. */
static capstan_reply observe(capstan_instance *self, json device_name, const json *only) {
    const device *there = named(self, device_name);
    text body = {0};
    text_add(&body, "{\"generation\":");
    text_add_number(&body, there == NULL ? 0 : there->generation);
    text_add(&body, ",\"load_balancers\":[");
    int first = 1;
    for (size_t i = 0; there != NULL && i < there->count; i++) {
        const balancer *each = &there->balancers[i];
        if (only != NULL && !json_same_text(each->id, *only)) {
            continue;
        }
        text_add(&body, first ? "{\"id\":" : ",{\"id\":");
        text_add_json(&body, each->id);
        text_add(&body, each->suspended ? ",\"state\":\"suspended\",\"members\":[]}"
                                        : ",\"state\":\"running\",\"members\":[]}");
        first = 0;
    }
    text_add(&body, "]}");
    return answer(&body);
}

/* suspend, enable and delete: of one load balancer, or of all. */
static capstan_reply change(capstan_instance *self, uint64_t call_id, capstan_bytes method, json params,
                            json device_name, const json *only) {
    json number;
    uint64_t generation = 0;
    device *there = named(self, device_name);
    int deleting = capstan_is(method, "delete");
    if (json_member(params, "generation", &number) && !json_number(number, &generation)) {
        return FAIL("invalid_argument", "generation is no whole number");
    }
    if (there == NULL) {
        return deleting ? applied(NULL, NULL, "unchanged") : FAIL("not_found", "there is no such device");
    }
    if (generation < there->generation) {
        return older_generation(generation, there->generation);
    }
    /* The new state is made beside the old one, so that a host that cannot keep it leaves the old one in force. */
    device next = {there->name, generation, 0, calloc(there->count + 1, sizeof(balancer)), there->spec};
    if (next.balancers == NULL) {
        return out_of_memory();
    }
    size_t found = 0;
    for (size_t i = 0; i < there->count; i++) {
        balancer each = there->balancers[i];
        if (only == NULL || json_same_text(each.id, *only)) {
            found++;
            each.suspended = capstan_is(method, "suspend");
            if (deleting) {
                continue;
            }
        }
        next.balancers[next.count++] = each;
    }
    if (found == 0 && !deleting) {
        free(next.balancers);
        return FAIL("not_found", "the device has no such load balancer");
    }
    if (remember(self, call_id, &next) != 0) {
        free(next.balancers);
        return FAIL("unavailable", "the host could not keep the state; nothing was changed");
    }
    capstan_reply reply = applied(there, only, found == 0 ? "unchanged" : "memory");
    free(there->balancers);
    *there = next;
    return reply;
}

/* ---- the table ---- */

static capstan_reply driver_open(const capstan_host_table *host, capstan_bytes config, capstan_instance **instance) {
    json object = {(const char *)config.data, config.len}, delay;
    pthread_condattr_t monotonic;
    if (host->magic != CAPSTAN_MAGIC || host->epoch != CAPSTAN_EPOCH || host->size < sizeof *host) {
        return FAIL("internal", "the host's table is not of epoch 1");
    }
    if (!json_check(object)) {
        return FAIL("invalid_argument", "the configuration is no JSON");
    }
    capstan_instance *self = calloc(1, sizeof *self);
    if (self == NULL) {
        return out_of_memory();
    }
    self->host = host;
    if (json_member(object, "delay_ms", &delay) && !json_number(delay, &self->delay_ms)) {
        free(self);
        return FAIL("invalid_argument", "delay_ms is no whole number");
    }
    if (recall(self) != 0) {
        free(self);
        return FAIL("unavailable", "the host's state could not be read");
    }
    pthread_condattr_init(&monotonic);
    pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    pthread_mutex_init(&self->lock, NULL);
    pthread_mutex_init(&self->waiting, NULL);
    pthread_cond_init(&self->stop, &monotonic);
    pthread_condattr_destroy(&monotonic);
    *instance = self;
    return capstan_reply_static(CAPSTAN_OK, "null");
}

static capstan_reply driver_invoke(capstan_instance *self, uint64_t call_id, capstan_bytes method, capstan_bytes body) {
    json request = {(const char *)body.data, body.len}, params, device_name, one;
    const json *only = NULL;
    capstan_reply reply;
    if (!json_check(request)) {
        return FAIL("invalid_argument", "the request is no JSON");
    }
    int is_apply = capstan_is(method, "apply"), is_observe = capstan_is(method, "observe");
    if (!is_apply && !is_observe && !capstan_is(method, "suspend") && !capstan_is(method, "enable") &&
        !capstan_is(method, "delete")) {
        return FAIL("not_supported", "the driver has no such method");
    }
    if (!json_member(request, "params", &params) || !json_member(params, "device", &device_name) ||
        !json_is_text(device_name)) {
        return FAIL("invalid_argument", "device is missing or no text");
    }
    if (is_apply) {
        return apply(self, call_id, params);
    }
    if (json_member(params, "load_balancer", &one) && !json_is_null(one)) {
        if (!json_is_text(one)) {
            return FAIL("invalid_argument", "load_balancer is no text");
        }
        only = &one;
    }
    pthread_mutex_lock(&self->lock);
    reply = is_observe ? observe(self, device_name, only) : change(self, call_id, method, params, device_name, only);
    pthread_mutex_unlock(&self->lock);
    return reply;
}

/* Whoever waits asks the host whether it was meant. The mutex closes the gap between that question and the wait. */
static void driver_cancel(capstan_instance *self, uint64_t call_id) {
    (void)call_id;
    pthread_mutex_lock(&self->waiting);
    pthread_cond_broadcast(&self->stop);
    pthread_mutex_unlock(&self->waiting);
}

static capstan_reply driver_health(capstan_instance *self) {
    (void)self;
    return capstan_reply_static(CAPSTAN_OK, "{\"message\":\"in memory\"}");
}

static void driver_close(capstan_instance *self) {
    device_free(&self->device);
    pthread_cond_destroy(&self->stop);
    pthread_mutex_destroy(&self->waiting);
    pthread_mutex_destroy(&self->lock);
    free(self);
}

const capstan_driver_table *capstan_driver_epoch_1(void) {
    static const capstan_driver_table table = {
        CAPSTAN_MAGIC, CAPSTAN_EPOCH, sizeof(capstan_driver_table), capstan_describe, driver_open,
        driver_invoke, driver_cancel, driver_health, driver_close,
    };
    return &table;
}
