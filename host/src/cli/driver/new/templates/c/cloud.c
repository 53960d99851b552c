/* The cloud driver `@NAME@`: its nodes are entries in memory. Put your cloud's API where the notes say so. */
#define _POSIX_C_SOURCE 200809L

#include "capstan_driver.h"
#include "capstan_json.h"

#include <pthread.h>

CAPSTAN_MANIFEST(
    "{\"name\":\"@NAME@\",\"version\":\"0.1.0\",\"vendor\":\"Your company\",\"description\":\"Nodes of your cloud\","
    "\"kind\":\"cloud\",\"interface\":\"cloud/1\",\"target\":\"" CAPSTAN_TARGET "\",\"panic\":\"none\","
    "\"serial_by\":\"instance\",\"epoch\":1,\"methods\":[\"list_nodes\",\"create_node\",\"destroy_node\",\"get_node\",\"list_images\",\"list_sizes\"],\"calls\":[],\"secrets\":[\"password\"],"
    /* What a cloud of the farm has. */
    "\"config_schema\":{\"type\":\"object\",\"properties\":{\"user\":{\"type\":\"string\"},"
    "\"password\":{\"type\":\"string\",\"writeOnly\":true,\"x-capstan-secret\":true},"
    "\"extra_params\":{\"type\":\"object\",\"properties\":{\"endpoint\":{\"type\":\"string\",\"description\":"
    "\"Where the cloud's API is\"}},\"additionalProperties\":false}},\"additionalProperties\":false}}");

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

typedef struct node {
    uint64_t number;
    json name, image, size, token;
} node;

struct capstan_instance {
    const capstan_host_table *host; /* valid until close */
    pthread_mutex_t lock;           /* guards what follows */
    uint64_t made;
    size_t count;
    node *nodes;
};

static void node_free(node *gone) {
    json parts[] = {gone->name, gone->image, gone->size, gone->token};
    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++) {
        free((char *)parts[i].at);
    }
}

static void add_node_json(text *body, const node *one) {
    text_add(body, "{\"id\":\"node-");
    text_add_number(body, one->number);
    text_add(body, "\",\"state\":\"running\",\"name\":");
    text_add_json(body, one->name);
    text_add(body, ",\"image\":");
    text_add_json(body, one->image);
    text_add(body, ",\"size\":");
    text_add_json(body, one->size);
    text_add(body, "}");
}

static capstan_reply show(const node *one) {
    text body = {0};
    add_node_json(&body, one);
    return answer(&body);
}

static capstan_reply list_nodes(const capstan_instance *self) {
    text body = {0};
    text_add(&body, "{\"items\":[");
    for (size_t i = 0; i < self->count; i++) {
        text_add(&body, i == 0 ? "" : ",");
        add_node_json(&body, &self->nodes[i]);
    }
    text_add(&body, "]}");
    return answer(&body);
}

static capstan_reply create_node(capstan_instance *self, uint64_t call_id, json params) {
    json name, image, size, token = {"\"\"", 2};
    if (!json_member(params, "name", &name) || !json_is_text(name) || !json_member(params, "image", &image) ||
        !json_is_text(image) || !json_member(params, "size", &size) || !json_is_text(size)) {
        return FAIL("invalid_argument", "name, image and size are texts");
    }
    if (json_member(params, "client_token", &token) && !json_is_text(token)) {
        return FAIL("invalid_argument", "client_token is no text");
    }
    if (capstan_cancelled(self->host, call_id)) {
        return FAIL("cancelled", "the call was cancelled before anything was made");
    }
    /* The same token never makes a second node: the host repeats a call whose answer it has lost. */
    for (size_t i = 0; token.len > 2 && i < self->count; i++) {
        if (json_same_text(self->nodes[i].token, token)) {
            return show(&self->nodes[i]);
        }
    }
    /* Here: ask the cloud for a node. */
    node *nodes = realloc(self->nodes, (self->count + 1) * sizeof *nodes);
    if (nodes == NULL) {
        return out_of_memory();
    }
    self->nodes = nodes;
    node made = {self->made + 1, keep(name), keep(image), keep(size), keep(token)};
    if (made.name.at == NULL || made.image.at == NULL || made.size.at == NULL || made.token.at == NULL) {
        node_free(&made);
        return out_of_memory();
    }
    self->made++;
    self->nodes[self->count++] = made;
    return show(&self->nodes[self->count - 1]);
}

/* destroy_node and get_node. */
static capstan_reply of_one(capstan_instance *self, json params, int is_destroyed) {
    json id;
    if (!json_member(params, "id", &id) || !json_is_text(id)) {
        return FAIL("invalid_argument", "id is missing or no text");
    }
    for (size_t i = 0; i < self->count; i++) {
        char known[32];
        snprintf(known, sizeof known, "node-%llu", (unsigned long long)self->nodes[i].number);
        if (!json_text_is(id, known)) {
            continue;
        }
        if (!is_destroyed) {
            return show(&self->nodes[i]);
        }
        node_free(&self->nodes[i]);
        self->nodes[i] = self->nodes[--self->count];
        return capstan_reply_static(CAPSTAN_OK, "null");
    }
    return FAIL("not_found", "there is no such node");
}

/* Runs one method, with the lock held. */
static capstan_reply run(capstan_instance *self, uint64_t call_id, capstan_bytes method, json params) {
    if (capstan_is(method, "list_nodes")) {
        return list_nodes(self);
    }
    if (capstan_is(method, "create_node")) {
        return create_node(self, call_id, params);
    }
    if (capstan_is(method, "destroy_node") || capstan_is(method, "get_node")) {
        return of_one(self, params, capstan_is(method, "destroy_node"));
    }
    if (capstan_is(method, "list_images")) {
        return capstan_reply_static(CAPSTAN_OK, "{\"items\":[{\"id\":\"image-1\",\"name\":\"An image\"}]}");
    }
    if (capstan_is(method, "list_sizes")) {
        return capstan_reply_static(CAPSTAN_OK, "{\"items\":[{\"id\":\"size-1\",\"name\":\"A size\",\"ram_mib\":1024,"
                                                "\"disk_gib\":10,\"vcpus\":1}]}");
    }
    return FAIL("not_supported", "the driver has no such method");
}

/* What the instance holds; nobody calls it any more. */
static void free_state(capstan_instance *self) {
    for (size_t i = 0; i < self->count; i++) {
        node_free(&self->nodes[i]);
    }
    free(self->nodes);
}
