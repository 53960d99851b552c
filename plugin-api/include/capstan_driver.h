/*
 * The boundary between Capstan and a driver, epoch 1, for C99 and C++11 and later. docs/abi-epoch-1.md gives the rules
 * in full; the layout is frozen, and plugin-api/src/abi.rs is the same in Rust.
 *
 * A driver is a shared library that exports capstan_driver_epoch_1() and holds its manifest (JSON) in the ELF section
 * ".capstan_manifest". All bodies are JSON in UTF-8 without a terminating zero.
 */
#ifndef CAPSTAN_DRIVER_H
#define CAPSTAN_DRIVER_H

#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#ifdef __cplusplus
extern "C" {
#endif

/* The bytes "CAPSTAN1" as a little-endian number: first field of both tables. */
#define CAPSTAN_MAGIC UINT64_C(0x314E415453504143)
#define CAPSTAN_EPOCH UINT32_C(1)

/* Status of a reply. */
#define CAPSTAN_OK UINT32_C(0)      /* the body is the result */
#define CAPSTAN_ERROR UINT32_C(1)   /* the body is an error object */
#define CAPSTAN_PENDING UINT32_C(2) /* the body is {"token": TEXT, "poll_after_ms": NUMBER} */
#define CAPSTAN_PANIC UINT32_C(255) /* a guard caught a panic; the body is an error object */

/* Levels of a log line. */
#define CAPSTAN_LOG_ERROR UINT32_C(1)
#define CAPSTAN_LOG_WARN UINT32_C(2)
#define CAPSTAN_LOG_INFO UINT32_C(3)
#define CAPSTAN_LOG_DEBUG UINT32_C(4)
#define CAPSTAN_LOG_TRACE UINT32_C(5)

/* Borrowed: readable until the function that got it returns. Not terminated. data may be NULL only when len is 0. */
typedef struct capstan_bytes {
    const uint8_t *data;
    size_t len;
} capstan_bytes;

/* Owned by whoever receives it, who calls free(data, len) once, from any thread; free may be NULL for static data. */
typedef struct capstan_buffer {
    uint8_t *data;
    size_t len;
    void (*free)(uint8_t *data, size_t len);
} capstan_buffer;

typedef struct capstan_reply {
    uint32_t status;
    uint32_t reserved; /* zero */
    capstan_buffer body;
} capstan_reply;

typedef struct capstan_host_context capstan_host_context; /* the host's own */
typedef struct capstan_instance capstan_instance;         /* the driver's own: cast it to your struct */

/* The host's side of one instance: valid from open() until close() returns, or until an open() that failed returns.
 * Every function may be called from any thread. call_id is what invoke() got, 0 outside a call. */
typedef struct capstan_host_table {
    uint64_t magic; /* CAPSTAN_MAGIC */
    uint32_t epoch; /* CAPSTAN_EPOCH */
    uint32_t size;  /* at least sizeof(capstan_host_table) */
    capstan_host_context *context;
    /* A host service by name. The caller frees the body of the reply. */
    capstan_reply (*call)(capstan_host_context *context, uint64_t call_id, capstan_bytes method, capstan_bytes body);
    /* One log line. target may be empty; fields is a JSON object or empty. */
    void (*log)(capstan_host_context *context, uint64_t call_id, uint32_t level, capstan_bytes target,
                capstan_bytes message, capstan_bytes fields);
    /* 1 when the call should stop. With call_id 0: when the instance is about to end. Cheap. */
    uint32_t (*cancelled)(capstan_host_context *context, uint64_t call_id);
} capstan_host_table;

/* The driver's side. Every function may be called from any thread; invoke, cancel and health also at the same time.
 * No function may let a C++ exception or a longjmp leave it. */
typedef struct capstan_driver_table {
    uint64_t magic; /* CAPSTAN_MAGIC */
    uint32_t epoch; /* CAPSTAN_EPOCH */
    uint32_t size;  /* sizeof(capstan_driver_table) */
    /* The bytes of the manifest section; static. */
    capstan_bytes (*describe)(void);
    /* config is a JSON object. With CAPSTAN_OK *instance has been set to something that is not NULL. */
    capstan_reply (*open)(const capstan_host_table *host, capstan_bytes config, capstan_instance **instance);
    /* body is {"deadline_ms": NUMBER, "request_id": TEXT, "params": {...}}; the last two may be missing. */
    capstan_reply (*invoke)(capstan_instance *instance, uint64_t call_id, capstan_bytes method, capstan_bytes body);
    /* Asks the call to stop; returns at once. The host's cancelled(call_id) says 1 before this is called. */
    void (*cancel)(capstan_instance *instance, uint64_t call_id);
    /* Quick, without side effects. The result is {"message": TEXT}. */
    capstan_reply (*health)(capstan_instance *instance);
    /* Ends and frees the instance. Called at most once, when no other call is out. */
    void (*close)(capstan_instance *instance);
} capstan_driver_table;

#if defined(__GNUC__)
#define CAPSTAN_EXPORT __attribute__((visibility("default")))
#if defined(__has_attribute)
#if __has_attribute(nonstring)
#define CAPSTAN_IN_MANIFEST_SECTION __attribute__((section(".capstan_manifest"), used, nonstring))
#endif
#endif
#ifndef CAPSTAN_IN_MANIFEST_SECTION
#define CAPSTAN_IN_MANIFEST_SECTION __attribute__((section(".capstan_manifest"), used))
#endif
#else
#error "capstan_driver.h needs a compiler with GNU attributes (gcc, clang)"
#endif

/* The manifest's `target`, for glibc; another C library defines it on the compiler's command line. */
#ifndef CAPSTAN_TARGET
#if defined(__x86_64__)
#define CAPSTAN_TARGET "x86_64-unknown-linux-gnu"
#elif defined(__aarch64__)
#define CAPSTAN_TARGET "aarch64-unknown-linux-gnu"
#elif defined(__powerpc64__) && defined(__LITTLE_ENDIAN__)
#define CAPSTAN_TARGET "powerpc64le-unknown-linux-gnu"
#elif defined(__riscv) && __riscv_xlen == 64
#define CAPSTAN_TARGET "riscv64gc-unknown-linux-gnu"
#endif
#endif

/* What the library exports. The table is static. */
CAPSTAN_EXPORT const capstan_driver_table *capstan_driver_epoch_1(void);

/* CAPSTAN_MANIFEST("{...}"); at file scope puts the manifest in its section and defines capstan_describe(), which goes
 * into the table. C++ does not let go of the literal's zero; the host takes no notice of zeros at the end. */
#ifdef __cplusplus
#define CAPSTAN_MANIFEST_SIZE(json) sizeof(json)
#else
#define CAPSTAN_MANIFEST_SIZE(json) (sizeof(json) - 1)
#endif
#define CAPSTAN_MANIFEST(json)                                                                               \
    CAPSTAN_IN_MANIFEST_SECTION static const char capstan_manifest[CAPSTAN_MANIFEST_SIZE(json)] = json;      \
    static capstan_bytes capstan_describe(void) {                                                            \
        capstan_bytes bytes_ = {(const uint8_t *)capstan_manifest, sizeof(json) - 1};                        \
        return bytes_;                                                                                       \
    }                                                                                                        \
    struct capstan_manifest_needs_a_semicolon

/* Bytes of a terminated text. */
static inline capstan_bytes capstan_text(const char *text) {
    capstan_bytes bytes;
    bytes.data = (const uint8_t *)text;
    bytes.len = strlen(text);
    return bytes;
}

/* 1 when the bytes are this text. */
static inline int capstan_is(capstan_bytes bytes, const char *text) {
    size_t len = strlen(text);
    return bytes.len == len && (len == 0 || memcmp(bytes.data, text, len) == 0);
}

static inline void capstan_free_malloced(uint8_t *data, size_t len) {
    (void)len;
    free(data);
}

/* A reply whose body came from malloc; the host frees it with this library's free. */
static inline capstan_reply capstan_reply_malloced(uint32_t status, char *json, size_t len) {
    capstan_reply reply;
    reply.status = status;
    reply.reserved = 0;
    reply.body.data = (uint8_t *)json;
    reply.body.len = len;
    reply.body.free = capstan_free_malloced;
    return reply;
}

/* A reply whose body lives as long as the library: a literal. */
static inline capstan_reply capstan_reply_static(uint32_t status, const char *json) {
    capstan_reply reply;
    reply.status = status;
    reply.reserved = 0;
    reply.body.data = (uint8_t *)(uintptr_t)json;
    reply.body.len = strlen(json);
    reply.body.free = NULL;
    return reply;
}

/* Frees a reply of the host. */
static inline void capstan_reply_free(capstan_reply reply) {
    if (reply.body.free != NULL) {
        reply.body.free(reply.body.data, reply.body.len);
    }
}

/* One log line of the driver as a whole, without fields. */
static inline void capstan_log(const capstan_host_table *host, uint64_t call_id, uint32_t level, const char *message) {
    host->log(host->context, call_id, level, capstan_text(""), capstan_text(message), capstan_text(""));
}

/* 1 when the call should stop; 0 as call_id asks about the instance. */
static inline int capstan_cancelled(const capstan_host_table *host, uint64_t call_id) {
    return host->cancelled(host->context, call_id) != 0;
}

/* A compiler that lays these out otherwise (a packing pragma, another data model) must not build a driver. */
#if defined(__cplusplus)
#define CAPSTAN_LAYOUT(condition, text) static_assert(condition, text)
#elif defined(__STDC_VERSION__) && __STDC_VERSION__ >= 201112L
#define CAPSTAN_LAYOUT(condition, text) _Static_assert(condition, text)
#else
#define CAPSTAN_LAYOUT(condition, text) struct capstan_layout_needs_a_semicolon
#endif

#if defined(__LP64__)
CAPSTAN_LAYOUT(sizeof(capstan_bytes) == 16, "capstan_bytes");
CAPSTAN_LAYOUT(offsetof(capstan_bytes, len) == 8, "capstan_bytes.len");
CAPSTAN_LAYOUT(sizeof(capstan_buffer) == 24, "capstan_buffer");
CAPSTAN_LAYOUT(offsetof(capstan_buffer, free) == 16, "capstan_buffer.free");
CAPSTAN_LAYOUT(sizeof(capstan_reply) == 32, "capstan_reply");
CAPSTAN_LAYOUT(offsetof(capstan_reply, body) == 8, "capstan_reply.body");
CAPSTAN_LAYOUT(sizeof(capstan_host_table) == 48, "capstan_host_table");
CAPSTAN_LAYOUT(offsetof(capstan_host_table, context) == 16, "capstan_host_table.context");
CAPSTAN_LAYOUT(offsetof(capstan_host_table, call) == 24, "capstan_host_table.call");
CAPSTAN_LAYOUT(offsetof(capstan_host_table, log) == 32, "capstan_host_table.log");
CAPSTAN_LAYOUT(offsetof(capstan_host_table, cancelled) == 40, "capstan_host_table.cancelled");
CAPSTAN_LAYOUT(sizeof(capstan_driver_table) == 64, "capstan_driver_table");
CAPSTAN_LAYOUT(offsetof(capstan_driver_table, describe) == 16, "capstan_driver_table.describe");
CAPSTAN_LAYOUT(offsetof(capstan_driver_table, open) == 24, "capstan_driver_table.open");
CAPSTAN_LAYOUT(offsetof(capstan_driver_table, invoke) == 32, "capstan_driver_table.invoke");
CAPSTAN_LAYOUT(offsetof(capstan_driver_table, cancel) == 40, "capstan_driver_table.cancel");
CAPSTAN_LAYOUT(offsetof(capstan_driver_table, health) == 48, "capstan_driver_table.health");
CAPSTAN_LAYOUT(offsetof(capstan_driver_table, close) == 56, "capstan_driver_table.close");
#else
#error "epoch 1 is for 64-bit Linux (LP64)"
#endif
#undef CAPSTAN_LAYOUT

#ifdef __cplusplus
}
#endif

#endif
