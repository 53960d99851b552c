static capstan_reply driver_open(const capstan_host_table *host, capstan_bytes config, capstan_instance **instance) {
    (void)config; /* Here: take from it what the schema above asks for; it is JSON that fits. */
    if (host->magic != CAPSTAN_MAGIC || host->epoch != CAPSTAN_EPOCH || host->size < sizeof *host) {
        return FAIL("internal", "the host's table is not of epoch 1");
    }
    capstan_instance *self = calloc(1, sizeof *self);
    if (self == NULL) {
        return out_of_memory();
    }
    self->host = host;
    pthread_mutex_init(&self->lock, NULL);
    *instance = self;
    return capstan_reply_static(CAPSTAN_OK, "null");
}

static capstan_reply driver_invoke(capstan_instance *self, uint64_t call_id, capstan_bytes method, capstan_bytes body) {
    json request = {(const char *)body.data, body.len}, params = {"{}", 2};
    if (!json_check(request)) {
        return FAIL("invalid_argument", "the request is no JSON");
    }
    json_member(request, "params", &params);
    pthread_mutex_lock(&self->lock);
    capstan_reply reply = run(self, call_id, method, params);
    pthread_mutex_unlock(&self->lock);
    return reply;
}

/* Nothing here waits. A driver that does asks capstan_cancelled(self->host, call_id) between its steps, or wakes its waits here. */
static void driver_cancel(capstan_instance *self, uint64_t call_id) {
    (void)self;
    (void)call_id;
}

static capstan_reply driver_health(capstan_instance *self) {
    (void)self;
    return capstan_reply_static(CAPSTAN_OK, "{\"message\":\"\"}");
}

static void driver_close(capstan_instance *self) {
    free_state(self);
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
