/* A driver that behaves as its methods are called, and misbehaves as -D switches say. */
#define _GNU_SOURCE
#include "epoch_1.h"
#include "manifest.h"
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#ifndef TABLE_MAGIC
#define TABLE_MAGIC MAGIC
#endif
#ifndef TABLE_EPOCH
#define TABLE_EPOCH 1
#endif
#ifndef VERSION
#define VERSION "1"
#endif
#ifndef TABLE_SIZE
#define TABLE_SIZE sizeof(driver_table)
#endif

typedef struct { const host_table *host; char config[4096]; volatile int calls, cancels; } instance;

static void release(uint8_t *data, size_t len) { (void)len; free(data); }

static reply answer(uint32_t status, const char *text, size_t len) {
    uint8_t *data = malloc(len ? len : 1);
    memcpy(data, text, len);
    return (reply){status, 0, {data, len, release}};
}
static reply text(uint32_t status, const char *text) { return answer(status, text, strlen(text)); }
static void nap(long ms) { struct timespec t = {ms / 1000, ms % 1000 * 1000000}; nanosleep(&t, NULL); }

#ifdef CONSTRUCTOR
__attribute__((constructor)) static void constructor(void) { CONSTRUCTOR; }
#endif

static bytes describe(void) {
#ifdef LYING_DESCRIBE
    static const char lie[] = "{\"name\":\"another\"}";
    return (bytes){(const uint8_t *)lie, sizeof lie - 1};
#else
    return (bytes){(const uint8_t *)manifest, sizeof manifest - 1};
#endif
}

static reply open_(const host_table *host, bytes config, void **out) {
#ifdef OPEN
    OPEN;
#endif
    instance *self = calloc(1, sizeof *self);
    self->host = host;
    if (config.len < sizeof self->config) memcpy(self->config, config.data, config.len);
#ifndef NULL_INSTANCE
    *out = self;
#else
    (void)out;
#endif
    return text(0, "null");
}

static int is(bytes name, const char *text) { return name.len == strlen(text) && !memcmp(name.data, text, name.len); }

static reply invoke(void *me, uint64_t id, bytes method, bytes body) {
    instance *self = me;
    char *request = calloc(1, body.len + 1);
    memcpy(request, body.data, body.len);
    char *params = strstr(request, "\"params\":");
    params = params ? params + 9 : "null}";
    size_t len = strlen(params) - 1;
    reply out;
    __sync_fetch_and_add(&self->calls, 1);
    if (is(method, "echo")) out = answer(0, params, len);
    else if (is(method, "request")) out = answer(0, request, body.len);
    else if (is(method, "version")) out = text(0, "\"" VERSION "\"");
    else if (is(method, "config")) out = text(0, self->config);
    else if (is(method, "sleep")) { nap(atol(params)); out = text(0, "\"slept\""); }
    else if (is(method, "held")) {
        /* params: "FILE"; goes on when the file is there. */
        params[len - 1] = 0;
        while (access(params + 1, F_OK)) nap(2);
        out = text(0, "\"slept\"");
    } else if (is(method, "obedient")) {
        while (!self->host->cancelled(self->host->context, id)) nap(1);
        out = text(1, "{\"code\":\"cancelled\",\"message\":\"stopped\"}");
    } else if (is(method, "cancels")) {
        char count[32]; snprintf(count, sizeof count, "%d", self->cancels); out = text(0, count);
    } else if (is(method, "garbage")) out = text(0, "\xff{not json");
    else if (is(method, "unknown_status")) out = text(7, "{}");
    else if (is(method, "null_body")) out = (reply){0, 0, {NULL, 10, NULL}};
    else if (is(method, "bad_error")) out = text(1, "oops");
    else if (is(method, "fail")) out = answer(1, params, len);
    else if (is(method, "levels")) {
        bytes line = {(uint8_t *)"a line of a later level", 23}, none = {NULL, 0};
        const uint32_t levels[] = {0, 6, 4000000000u};
        for (int i = 0; i < 3; i++) self->host->log(self->host->context, id, levels[i], none, line, none);
        out = text(0, "null");
    }
    else if (is(method, "panic")) out = text(255, "{\"code\":\"internal\",\"message\":\"the driver panicked\",\"operator_message\":\"at x.rs:1\"}");
    else if (is(method, "huge")) {
        size_t size = 100u << 20; uint8_t *data = malloc(size); memset(data, '0', size);
        out = (reply){0, 0, {data, size, release}};
    } else if (is(method, "slow_work")) out = text(2, "{\"token\":\"3\",\"poll_after_ms\":10}");
    else if (is(method, "endless_work")) out = text(2, "{\"token\":\"1000000\",\"poll_after_ms\":10}");
    else if (is(method, "poll")) {
        long left = atol(strchr(params, ':') + 2) - 1;
        char again[64]; snprintf(again, sizeof again, "{\"token\":\"%ld\",\"poll_after_ms\":10}", left);
        out = left > 0 ? text(2, again) : text(0, "\"worked\"");
    } else if (is(method, "host")) {
        /* params: {"service":"NAME","body":JSON} */
        char *name = strstr(params, "\"service\":\"") + 11, *end = strchr(name, '"');
        char *inner = strstr(end, "\"body\":") + 7;
        bytes service = {(uint8_t *)name, end - name}, given = {(uint8_t *)inner, strlen(inner) - 2};
        reply said = self->host->call(self->host->context, id, service, given);
        out = answer(said.status, (char *)said.body.data, said.body.len);
        if (said.body.free) said.body.free(said.body.data, said.body.len);
    } else if (is(method, "null_host")) {
        bytes none = {NULL, 5};
        self->host->log(self->host->context, id, 3, none, none, none);
        reply said = self->host->call(self->host->context, id, none, none);
        out = answer(said.status, (char *)said.body.data, said.body.len);
    } else if (is(method, "flood")) {
        bytes line = {(uint8_t *)"a line\nof two", 13}, none = {NULL, 0};
        for (int i = 0; i < 5000; i++) self->host->log(self->host->context, id, 3, none, line, none);
        out = text(0, "null");
    } else out = text(1, "{\"code\":\"not_supported\",\"message\":\"no such method\"}");
    free(request);
    return out;
}

static void cancel(void *me, uint64_t id) {
    (void)id;
    __sync_fetch_and_add(&((instance *)me)->cancels, 1);
#ifdef HANGING_CANCEL
    pause();
#endif
}

static reply health(void *me) {
    (void)me;
#ifdef HEALTH
    HEALTH;
#endif
    return text(0, "{\"message\":\"fine\"}");
}

static void close_(void *me) {
    instance *self = me;
    /* Where to leave a trace is told in the configuration: {"closed":"FILE"}. */
    char *name = strstr(self->config, "\"closed\":\"");
    if (name) {
        name += 10;
        *strchr(name, '"') = 0;
        FILE *file = fopen(name, "w");
        if (file) fclose(file);
    }
    free(self);
}

static const driver_table table = {
    TABLE_MAGIC, TABLE_EPOCH, TABLE_SIZE, describe, open_,
#ifdef NULL_FUNCTION
    NULL,
#else
    invoke,
#endif
    cancel, health, close_};

#ifdef LATER_EPOCH
/* A driver that also speaks a boundary of the future; what it answers there is none of this host's business. */
const void *capstan_driver_epoch_2(void) { abort(); }
#endif

#ifndef NO_SYMBOL
const driver_table *capstan_driver_epoch_1(void) {
#ifdef NULL_TABLE
    return NULL;
#else
    return &table;
#endif
}
#else
const driver_table *unused(void) { return &table; }
#endif
