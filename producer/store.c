#include "producer/store.h"

#include "producer/spool.h"
#include "schemas/event.h"
#include "workers/common/base/auto.h"
#include "workers/common/base/clock.h"
#include "workers/common/base/log.h"

enum {
    /* librdkafka looks for messages that are too late once a second, and git hosts give up after five. */
    STORE_TIMEOUT_MS = 3500,
    REPLAY_BATCH = 500,
    REPLAY_FIRST_PAUSE_MS = 500,
    REPLAY_LONGEST_PAUSE_MS = 5000,
    LINE_MAXIMUM_BYTES = MESSAGE_MAXIMUM_BYTES + 1024,
};

/* The events of one put. */
struct parcel {
    struct store *store;
    struct output *outputs;
    size_t unacknowledged;
    bool may_spool;
    bool is_failed;
    struct error err;
    store_done *done;
    void *context;
    struct parcel *next; /* in the list of those for the disk */
};

struct store {
    struct loop *loop;
    struct publisher *publisher;
    struct spool *spool; /* NULL: none is wanted */
    int64_t spool_maximum_bytes;
    size_t waiting;
    size_t sent; /* parcels that wait for the brokers and may yet go to the disk */
    struct parcel *for_disk;
    struct parcel **for_disk_end;
    int64_t away_since_ms;
    bool is_broken;
    bool is_closing;
    uint64_t replayed;
    uint64_t spooled;

    /* The replay: one batch at a time, begun again as a whole when part of it failed. */
    int64_t replay_position; /* everything before it is stored */
    int64_t replay_batch_end;
    size_t replay_in_flight;
    size_t replay_batch_count;
    bool is_replay_failed;
    unsigned replay_failures; /* in a row */
    struct loop_timer *replay_timer;
};

static void outputs_free(struct output *outputs)
{
    while (outputs != NULL) {
        struct output *next = outputs->next;
        output_free(outputs);
        outputs = next;
    }
}

static void parcel_end(struct parcel *parcel, enum store_place place, const struct error *err)
{
    parcel->store->waiting--;
    parcel->done(parcel->context, place, err);
    outputs_free(parcel->outputs);
    free(parcel);
}

static bool spool_holds_back(const struct store *store)
{
    return store->spool != NULL && (store->for_disk != NULL || spool_size_bytes(store->spool) > 0);
}

static void parcel_to_disk(struct parcel *parcel)
{
    struct store *store = parcel->store;
    *store->for_disk_end = parcel;
    store->for_disk_end = &parcel->next;
}

/* --- to the brokers --- */

static void store_failed(struct store *store, const struct error *err)
{
    if (err->action == ERROR_FATAL) {
        store->is_broken = true;
    }
    if (store->away_since_ms == 0) {
        store->away_since_ms = clock_monotonic_ms();
        log_event(LOG_WARNING, "the brokers do not store", "reason", err->text, "spool",
                  store->spool != NULL ? "yes" : "no", NULL);
    }
}

static void store_succeeded(struct store *store)
{
    if (store->away_since_ms > 0) {
        log_event(LOG_INFO, "the brokers store again", "after_s",
                  log_number((clock_monotonic_ms() - store->away_since_ms) / 1000), NULL);
        store->away_since_ms = 0;
    }
}

static void parcel_acknowledged(void *context, const struct error *err)
{
    struct parcel *parcel = context;
    struct store *store = parcel->store;
    if (err != NULL) {
        parcel->is_failed = true;
        parcel->err = *err;
    }
    if (--parcel->unacknowledged > 0) {
        return;
    }
    store->sent -= parcel->may_spool ? 1 : 0;
    if (!parcel->is_failed) {
        store_succeeded(store);
        parcel_end(parcel, STORE_BROKERS, NULL);
        return;
    }
    store_failed(store, &parcel->err);
    if (parcel->may_spool) {
        parcel_to_disk(parcel);
    } else {
        parcel_end(parcel, STORE_NOWHERE, &parcel->err);
    }
}

/* One reference of `unacknowledged` is ours until all are on their way. */
static void parcel_send(struct parcel *parcel)
{
    struct error err = {0};
    bool is_sent = true;
    parcel->unacknowledged = 1;
    parcel->store->sent += parcel->may_spool ? 1 : 0;
    for (const struct output *output = parcel->outputs; output != NULL && is_sent; output = output->next) {
        is_sent = publisher_send(parcel->store->publisher, output, parcel_acknowledged, parcel, &err);
        parcel->unacknowledged += is_sent ? 1 : 0;
    }
    parcel_acknowledged(parcel, is_sent ? NULL : &err);
}

void store_put(struct store *store, struct output *outputs, bool may_spool, store_done *done, void *context)
{
    struct parcel *parcel = memory_zeroed(1, sizeof(*parcel));
    *parcel = (struct parcel){
        .store = store,
        .outputs = outputs,
        .may_spool = may_spool && store->spool != NULL,
        .done = done,
        .context = context,
    };
    store->waiting++;
    if (parcel->may_spool && (store->away_since_ms > 0 || spool_holds_back(store))) {
        parcel_to_disk(parcel);
    } else {
        parcel_send(parcel);
    }
}

/* --- onto the disk --- */

static size_t outputs_count(const struct output *outputs)
{
    size_t count = 0;
    for (; outputs != NULL; outputs = outputs->next) {
        count++;
    }
    return count;
}

static void parcels_end(struct parcel *parcels, enum store_place place, const struct error *err)
{
    while (parcels != NULL) {
        struct parcel *next = parcels->next;
        parcel_end(parcels, place, err);
        parcels = next;
    }
}

static bool parcels_append(struct store *store, const struct parcel *first, size_t line_count, struct error *err)
{
    struct slice *lines = memory_zeroed(line_count, sizeof(*lines));
    size_t count = 0;
    for (const struct parcel *parcel = first; parcel != NULL; parcel = parcel->next) {
        for (const struct output *output = parcel->outputs; output != NULL; output = output->next) {
            lines[count++] = slice_from(output->value, output->value_len);
        }
    }
    bool is_appended = spool_append(store->spool, lines, count, err);
    free(lines);
    return is_appended;
}

/* Everything that waits, with one sync. What was sent earlier and may fail yet comes before it. When not all of it
 * has room, each parcel is tried by itself. */
static void store_write(struct store *store)
{
    if (store->for_disk == NULL || store->sent > 0) {
        return;
    }
    struct parcel *parcels = store->for_disk;
    store->for_disk = NULL;
    store->for_disk_end = &store->for_disk;
    size_t line_count = 0;
    for (const struct parcel *parcel = parcels; parcel != NULL; parcel = parcel->next) {
        line_count += outputs_count(parcel->outputs);
    }
    struct error err;
    if (parcels_append(store, parcels, line_count, &err)) {
        store->spooled += line_count;
        parcels_end(parcels, STORE_DISK, NULL);
        return;
    }
    while (parcels != NULL) {
        struct parcel *next = TAKE(parcels->next);
        line_count = outputs_count(parcels->outputs);
        bool is_written = parcels_append(store, parcels, line_count, &err);
        store->spooled += is_written ? line_count : 0;
        parcel_end(parcels, is_written ? STORE_DISK : STORE_NOWHERE, &err);
        parcels = next;
    }
}

/* --- from the disk to the brokers --- */

static void replay_begin(void *context);

static void replay_pause(struct store *store)
{
    store->replay_timer =
        loop_after(store->loop, backoff_ms(store->replay_failures++, REPLAY_FIRST_PAUSE_MS, REPLAY_LONGEST_PAUSE_MS),
                   replay_begin, store);
}

/* The next batch begins in store_turn. */
static void replay_batch_end(struct store *store)
{
    if (store->is_closing) {
        return;
    }
    if (store->is_replay_failed) {
        replay_pause(store);
        return;
    }
    store_succeeded(store);
    store->replay_failures = 0;
    store->replayed += store->replay_batch_count;
    store->replay_position = store->replay_batch_end;
}

static void replay_acknowledged(void *context, const struct error *err)
{
    struct store *store = context;
    if (err != NULL) {
        store->is_replay_failed = true;
        store_failed(store, err);
    }
    if (--store->replay_in_flight == 0) {
        replay_batch_end(store);
    }
}

/* A whole line that is no event of ours was written by another version: it is kept where it can be seen. */
static void replay_line(struct store *store, const struct buffer *line)
{
    struct error err;
    AUTO(event) struct event *event = NULL;
    if (!event_parse(buffer_slice(line), &event, &err)) {
        log_event(LOG_ERROR, "an event on the disk cannot be read: it was put aside", "reason", err.text, NULL);
        if (!spool_put_aside(store->spool, line, &err)) {
            log_event(LOG_ERROR, "an event on the disk cannot be put aside", "reason", err.text, NULL);
        }
        return;
    }
    AUTO(output) struct output *output = message_output(&event_codec, event, "events", event->repository);
    store->replay_in_flight++;
    store->replay_batch_count++;
    if (!publisher_send(store->publisher, output, replay_acknowledged, store, &err)) {
        replay_acknowledged(store, &err);
    }
}

static void replay_all_stored(struct store *store)
{
    struct error err;
    if (!spool_clear(store->spool, &err)) {
        log_event(LOG_ERROR, "the spool cannot be emptied: its events will be sent again", "reason", err.text, NULL);
        replay_pause(store);
        return;
    }
    store->replay_position = 0;
    log_event(LOG_INFO, "the spool is empty", "replayed", log_number((long long)store->replayed), NULL);
}

/* One reference of `replay_in_flight` is ours until the batch is on its way. */
static void replay_begin(void *context)
{
    struct store *store = context;
    AUTO(buffer) struct buffer line;
    buffer_init(&line, LINE_MAXIMUM_BYTES);
    struct error err = {0};
    store->replay_timer = NULL;
    store->is_replay_failed = false;
    store->replay_batch_end = store->replay_position;
    store->replay_batch_count = 0;
    store->replay_in_flight = 1;
    size_t lines = 0;
    while (lines < REPLAY_BATCH && !store->is_replay_failed &&
           spool_read(store->spool, &store->replay_batch_end, &line, &err)) {
        replay_line(store, &line);
        lines++;
    }
    if (lines == 0 && err.action == ERROR_NONE) {
        store->replay_in_flight = 0;
        replay_all_stored(store);
        return;
    }
    replay_acknowledged(store, err.action != ERROR_NONE ? &err : NULL);
}

static void store_replay(struct store *store)
{
    bool is_replaying = store->replay_in_flight > 0 || store->replay_timer != NULL;
    if (store->spool != NULL && !is_replaying && spool_size_bytes(store->spool) > 0) {
        replay_begin(store);
    }
}

/* --- the store --- */

static bool store_open_spool(struct store *store, const struct options *options, struct error *err)
{
    const char *folder = options_text(options, "producer.spool");
    struct spool_findings findings;
    if (folder == NULL || folder[0] == '\0') {
        return true;
    }
    store->spool_maximum_bytes = options_integer(options, "producer.spool_maximum");
    if (!spool_open(folder, store->spool_maximum_bytes, &store->spool, &findings, err)) {
        return false;
    }
    if (findings.damaged > 0) {
        log_event(LOG_ERROR, "events on the disk are damaged: see the file events.damaged", "spool", folder, "damaged",
                  log_number((long long)findings.damaged), NULL);
    }
    if (findings.lines > 0 || findings.was_cut) {
        log_event(LOG_INFO, "events on the disk go to the brokers first", "events",
                  log_number((long long)findings.lines), "unfinished", findings.was_cut ? "1" : "0", NULL);
    }
    return true;
}

static void store_free(struct store *store)
{
    store_close(store);
}
DEFINE_AUTO(store, struct store *);

bool store_open(const struct options *options, struct loop *loop, int wake_fd, struct store **ret_store,
                struct error *err)
{
    AUTO(store) struct store *store = memory_zeroed(1, sizeof(*store));
    store->loop = loop;
    store->for_disk_end = &store->for_disk;
    if (!store_open_spool(store, options, err) ||
        !publisher_open(options, wake_fd, STORE_TIMEOUT_MS, &store->publisher, err)) {
        return false;
    }
    store_replay(store);
    *ret_store = TAKE(store);
    return true;
}

void store_turn(struct store *store)
{
    publisher_poll(store->publisher, 0);
    if (store->spool != NULL) {
        store_write(store);
        store_replay(store);
    }
}

void store_look(const struct store *store, struct store_state *ret_state)
{
    *ret_state = (struct store_state){
        .waiting = store->waiting,
        .has_spool = store->spool != NULL,
        .spool_maximum_bytes = store->spool_maximum_bytes,
        .spool_bytes = store->spool != NULL ? spool_size_bytes(store->spool) : 0,
        .away_since_ms = store->away_since_ms,
        .is_broken = store->is_broken,
        .replayed = store->replayed,
        .spooled = store->spooled,
    };
}

struct publisher *store_publisher(struct store *store)
{
    return store->publisher;
}

void store_close(struct store *store)
{
    if (store == NULL) {
        return;
    }
    store->is_closing = true;
    loop_timer_cancel(store->loop, store->replay_timer);
    publisher_close(store->publisher);
    /* The publisher has reported all that it had: what failed may yet go to the disk. */
    store->sent = 0;
    if (store->spool != NULL) {
        store_write(store);
    }
    spool_close(store->spool);
    free(store);
}
