/*
 * A stream is one source object with all its copies; a piece is one part of it in memory. A piece is let go when no
 * copy sends it and none that keeps up still needs it; until the memory is wanted it stays for who comes later.
 */
#include "workers/copier/relay.h"

#include "workers/common/aws/kept.h"
#include "workers/common/base/clock.h"
#include "workers/common/base/index.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    SENDING_MAXIMUM = 4,  /* parts of one copy on their way at once */
    LAGGING_MS = 5000,    /* a copy whose part takes longer is not waited for */
    LOOK_AROUND_MS = 500, /* for copies that have begun to lag */
    PIECES_MAXIMUM = 4096,
};

enum part_state { PART_NEEDED, PART_SENDING, PART_SENT };

struct piece {
    struct stream *stream;
    struct piece *older; /* in the relay */
    struct piece *newer;
    size_t position;
    char *bytes; /* NULL while it is being read */
    int64_t size_bytes;
    char sha256[CHECKSUM_SHA256_HEX_SIZE];
    char md5[CHECKSUM_MD5_TEXT_SIZE];
    struct s3_call *call; /* while it is being read */
    size_t senders;
};

/* What is known of a part once it has been read. */
struct part_sum {
    bool is_known;
    uint64_t crc;
};

struct stream {
    struct relay *relay;
    char *key; /* in the index */
    struct s3_subject source;
    char *etag;
    char *crc64nvme; /* base64, as the source's store says; "" when it does not */
    int64_t size_bytes;
    int64_t part_size_bytes;
    size_t part_count;
    struct part_sum *sums;
    size_t *needed;        /* by how many copies, for each part */
    struct piece **pieces; /* in memory or being read, for each part */
    size_t piece_count;
    size_t next_part; /* to read, going round */
    struct relay_copy *copies;
    struct stream *next_queued;
    bool is_queued;
};

struct sending {
    struct relay_copy *copy;
    struct piece *piece;
    int64_t begun_at_ms;
    unsigned renewals; /* of the credentials that it was sent with */
};

struct relay_copy {
    struct stream *stream;
    struct relay_copy *next;
    struct s3_subject target;
    struct s3_write write; /* of an object of one part; the upload keeps its own */
    struct headers attributes;
    struct upload *upload; /* of an object of several parts */
    struct s3_call *put;   /* of one part */
    unsigned char *parts;  /* enum part_state */
    size_t sent;
    struct sending sendings[SENDING_MAXIMUM];
    size_t sending_count;
    unsigned attempts;
    unsigned renewals; /* of the writer's credentials */
    bool is_ready;     /* its upload is open, its credentials are good */
    bool is_open;
    bool is_completing;
    struct loop_timer *ending; /* of one that failed here; nobody is called from within */
    struct error failed;
    enum failure_kind failed_kind;
    s3_done *done;
    void (*on_expired)(void *context, const struct credentials *expired);
    void *context;
};

struct relay {
    struct aws_client *client;
    struct uploads *uploads;
    struct relay_settings settings;
    struct index streams;
    struct piece *oldest;
    struct piece *newest;
    size_t piece_count;
    struct stream *queue; /* those that may want to read, first come, first served */
    struct loop_timer *advancing;
    struct loop_timer *looking_around;
    struct relay_statistics statistics;
};

struct relay *relay_new(struct aws_client *client, struct uploads *uploads, const struct relay_settings *settings)
{
    struct relay *relay = memory_zeroed(1, sizeof(*relay));
    relay->client = client;
    relay->uploads = uploads;
    relay->settings = *settings;
    return relay;
}

/* --- pieces --- */

static void piece_free(struct piece *piece)
{
    struct stream *stream = piece->stream;
    struct relay *relay = stream->relay;
    *(piece->older != NULL ? &piece->older->newer : &relay->oldest) = piece->newer;
    *(piece->newer != NULL ? &piece->newer->older : &relay->newest) = piece->older;
    relay->piece_count--;
    relay->statistics.bytes_held -= piece->size_bytes;
    stream->pieces[piece->position] = NULL;
    stream->piece_count--;
    s3_cancel(piece->call);
    free(piece->bytes);
    free(piece);
}

static bool copy_is_lagging(const struct relay_copy *copy)
{
    int64_t now_ms = clock_monotonic_ms();
    for (size_t i = 0; i < SENDING_MAXIMUM; i++) {
        if (copy->sendings[i].piece != NULL && now_ms - copy->sendings[i].begun_at_ms > LAGGING_MS) {
            return true;
        }
    }
    return false;
}

static bool copy_needs(const struct relay_copy *copy, size_t position)
{
    return copy->is_ready && copy->parts[position] == PART_NEEDED;
}

/* Is the piece kept for somebody who keeps up? */
static bool piece_is_wanted(const struct piece *piece)
{
    for (const struct relay_copy *copy = piece->stream->copies; copy != NULL; copy = copy->next) {
        if (copy_needs(copy, piece->position) && !copy_is_lagging(copy)) {
            return true;
        }
    }
    return false;
}

static bool piece_is_idle(const struct piece *piece)
{
    return piece->bytes != NULL && piece->senders == 0 && !piece_is_wanted(piece);
}

/* --- streams --- */

static void stream_free(struct stream *stream)
{
    struct relay *relay = stream->relay;
    struct stream **link = &relay->queue;
    for (size_t i = 0; i < stream->part_count; i++) {
        if (stream->pieces[i] != NULL) {
            piece_free(stream->pieces[i]);
        }
    }
    while (*link != NULL && *link != stream) {
        link = &(*link)->next_queued;
    }
    if (*link != NULL) {
        *link = stream->next_queued;
    }
    (void)index_remove(&relay->streams, slice_of(stream->key));
    s3_subject_drop(&stream->source);
    free(stream->key);
    free(stream->etag);
    free(stream->crc64nvme);
    free(stream->sums);
    free(stream->needed);
    free(stream->pieces);
    free(stream);
}

/* A stream without copies stays for the sake of what it has in memory. */
static void stream_free_if_empty(struct stream *stream)
{
    if (stream->copies == NULL && stream->piece_count == 0) {
        stream_free(stream);
    }
}

static void stream_visit(const char *key, void *value, void *context)
{
    (void)key;
    struct stream **any = context;
    *any = value;
}

void relay_free(struct relay *relay)
{
    if (relay == NULL) {
        return;
    }
    while (relay->streams.count > 0) {
        struct stream *stream = NULL;
        index_each(&relay->streams, stream_visit, &stream);
        stream_free(stream);
    }
    loop_timer_cancel(aws_client_loop(relay->client), relay->advancing);
    loop_timer_cancel(aws_client_loop(relay->client), relay->looking_around);
    free(relay);
}

static struct stream *relay_stream(struct relay *relay, const struct relay_request *request)
{
    AUTO(text)
    char *key = text_format("%s/%s\n%s", request->source.bucket.name, request->source.key, request->source_etag);
    struct stream *stream = index_get(&relay->streams, slice_of(key));
    if (stream != NULL) {
        s3_subject_renew(&stream->source, request->source.credentials);
        stream->source.deadline_ms = stream->source.deadline_ms > request->source.deadline_ms
                                         ? stream->source.deadline_ms
                                         : request->source.deadline_ms;
        return stream;
    }
    stream = memory_zeroed(1, sizeof(*stream));
    stream->relay = relay;
    stream->key = TAKE(key);
    stream->source = s3_subject_keep(&request->source);
    stream->etag = text_copy(request->source_etag);
    stream->crc64nvme = text_copy(request->source_crc64nvme);
    stream->size_bytes = request->size_bytes;
    stream->part_size_bytes = upload_part_size(request->size_bytes, relay->settings.part_size_bytes);
    stream->part_count = request->size_bytes > 0
                             ? (size_t)((request->size_bytes + stream->part_size_bytes - 1) / stream->part_size_bytes)
                             : 1;
    stream->sums = memory_zeroed(stream->part_count, sizeof(*stream->sums));
    stream->needed = memory_zeroed(stream->part_count, sizeof(*stream->needed));
    stream->pieces = memory_zeroed(stream->part_count, sizeof(struct piece *));
    index_put(&relay->streams, slice_of(stream->key), stream);
    return stream;
}

static int64_t stream_part_bytes(const struct stream *stream, size_t position)
{
    int64_t left = stream->size_bytes - (int64_t)position * stream->part_size_bytes;
    return left < stream->part_size_bytes ? left : stream->part_size_bytes;
}

/* --- ending a copy --- */

static void relay_advance(void *context);

static void relay_advance_later(struct relay *relay)
{
    if (relay->advancing == NULL) {
        relay->advancing = loop_after(aws_client_loop(relay->client), 0, relay_advance, relay);
    }
}

static void stream_queue(struct stream *stream)
{
    struct stream **end = &stream->relay->queue;
    if (stream->is_queued) {
        return;
    }
    while (*end != NULL) {
        end = &(*end)->next_queued;
    }
    *end = stream;
    stream->next_queued = NULL;
    stream->is_queued = true;
}

static void part_set(struct relay_copy *copy, size_t position, enum part_state state)
{
    bool was_needed = copy->parts[position] == PART_NEEDED;
    copy->parts[position] = (unsigned char)state;
    copy->stream->needed[position] += (size_t)(state == PART_NEEDED) - (size_t)was_needed;
}

static void copy_free(struct relay_copy *copy)
{
    struct stream *stream = copy->stream;
    struct relay_copy **link = &stream->copies;
    while (*link != copy) {
        link = &(*link)->next;
    }
    *link = copy->next;
    upload_free(copy->upload);
    s3_cancel(copy->put);
    loop_timer_cancel(aws_client_loop(stream->relay->client), copy->ending);
    for (size_t i = 0; i < stream->part_count; i++) {
        stream->needed[i] -= copy->parts[i] == PART_NEEDED;
    }
    for (size_t i = 0; i < SENDING_MAXIMUM; i++) {
        if (copy->sendings[i].piece != NULL) {
            copy->sendings[i].piece->senders--;
        }
    }
    s3_subject_drop(&copy->target);
    s3_write_drop(&copy->write, &copy->attributes);
    free(copy->parts);
    free(copy);
    relay_advance_later(stream->relay);
    stream_free_if_empty(stream);
}

void relay_cancel(struct relay_copy *copy)
{
    if (copy != NULL) {
        copy_free(copy);
    }
}

static uint64_t stream_crc(const struct stream *stream)
{
    uint64_t crc = stream->sums[0].crc;
    for (size_t i = 1; i < stream->part_count; i++) {
        crc = crc64nvme_join(crc, stream->sums[i].crc, (uint64_t)stream_part_bytes(stream, i));
    }
    return crc;
}

static void copy_end(struct relay_copy *copy, struct s3_answer *answer)
{
    struct aws_result result = *answer->result;
    struct s3_answer whole = *answer;
    s3_done *done = copy->done;
    void *context = copy->context;
    result.attempts = copy->attempts;
    whole.result = &result;
    whole.attributes = (struct headers){0}; /* those of a head stay with it */
    if (result.err.action == ERROR_NONE) {
        crc64nvme_text(stream_crc(copy->stream), whole.checksums.crc64nvme);
    }
    copy_free(copy);
    done(context, &whole);
}

static void copy_ends(void *context)
{
    struct relay_copy *copy = context;
    struct aws_result result = {.err = copy->failed, .failure = {.kind = copy->failed_kind}};
    struct s3_answer answer = {.result = &result, .version_id = "", .source_version_id = "", .upload_id = ""};
    copy->ending = NULL;
    copy_end(copy, &answer);
}

static void copy_end_later(struct relay_copy *copy, const struct error *err, enum failure_kind kind)
{
    copy->is_ready = false;
    if (copy->ending == NULL) {
        copy->failed = *err;
        copy->failed_kind = kind;
        copy->ending = loop_after(aws_client_loop(copy->stream->relay->client), 0, copy_ends, copy);
    }
}

/* Expired credentials are waited for; everything else ends the copy. */
static void copy_failed(struct relay_copy *copy, struct s3_answer *answer)
{
    if (answer->result->failure.kind != FAILURE_EXPIRED_TOKEN || !copy->is_open) {
        copy_end(copy, answer);
    } else if (copy->is_ready) {
        copy->is_ready = false;
        copy->on_expired(copy->context, copy->target.credentials);
    }
}

/* --- sending --- */

static void copy_advance(struct relay_copy *copy);

static void copy_completed(void *context, struct s3_answer *answer)
{
    struct relay_copy *copy = context;
    copy->attempts += answer->result->attempts;
    copy->is_completing = false;
    if (answer->result->err.action == ERROR_NONE) {
        copy_end(copy, answer);
    } else {
        copy_failed(copy, answer);
    }
}

/* Before an object is put together: are these the bytes that the source's store has? */
static bool stream_is_sound(const struct stream *stream, struct error *err)
{
    char crc[CHECKSUM_CRC64_TEXT_SIZE];
    crc64nvme_text(stream_crc(stream), crc);
    return stream->crc64nvme[0] == '\0' || strcmp(stream->crc64nvme, crc) == 0 ||
           error_set(err, ERROR_RETRY, "s3://%s/%s came with the checksum crc64nvme:%s where the store says %s",
                     stream->source.bucket.name, stream->source.key, crc, stream->crc64nvme);
}

static void sending_end(struct sending *sending)
{
    sending->piece->senders--;
    sending->piece = NULL;
    sending->copy->sending_count--;
}

static void copy_part_sent(void *context, struct s3_answer *answer)
{
    struct sending *sending = context;
    struct relay_copy *copy = sending->copy;
    size_t position = sending->piece->position;
    copy->attempts += answer->result->attempts;
    sending_end(sending);
    stream_queue(copy->stream);
    relay_advance_later(copy->stream->relay);
    if (copy->put != NULL) {
        copy->put = NULL;
        part_set(copy, position, PART_NEEDED);
        if (answer->result->err.action == ERROR_NONE) {
            copy_end(copy, answer);
        } else {
            copy_failed(copy, answer);
        }
        return;
    }
    if (answer->result->err.action != ERROR_NONE) {
        part_set(copy, position, PART_NEEDED);
        if (answer->result->failure.kind == FAILURE_EXPIRED_TOKEN && sending->renewals != copy->renewals) {
            copy_advance(copy); /* sent with credentials that have been replaced meanwhile */
        } else {
            copy_failed(copy, answer);
        }
        return;
    }
    part_set(copy, position, PART_SENT);
    copy->sent++;
    copy->stream->relay->statistics.parts_sent++;
    copy_advance(copy);
}

static void copy_send(struct relay_copy *copy, struct piece *piece)
{
    struct sending *sending = copy->sendings;
    while (sending->piece != NULL) {
        sending++;
    }
    *sending = (struct sending){copy, piece, clock_monotonic_ms(), copy->renewals};
    copy->sending_count++;
    piece->senders++;
    part_set(copy, piece->position, PART_SENDING);
    struct s3_body body = {slice_from(piece->bytes, (size_t)piece->size_bytes), piece->sha256, piece->md5};
    if (copy->upload != NULL) {
        upload_send_part(copy->upload, (unsigned)piece->position + 1, &body, copy_part_sent, sending);
        return;
    }
    copy->put = s3_put_object(copy->stream->relay->client, &copy->target, &body, &copy->write, copy_part_sent, sending);
}

/* A lagging copy gets one part at a time, so that it holds little of what others wait for; and before it is known to
 * lag, half of the memory at most. */
static bool copy_may_take(const struct relay_copy *copy)
{
    size_t half = copy->stream->relay->settings.parts_maximum / 2;
    size_t maximum = copy_is_lagging(copy) || half == 0 ? 1 : half < SENDING_MAXIMUM ? half : SENDING_MAXIMUM;
    return copy->is_ready && copy->sending_count < maximum;
}

/* An object of one part is there when its only part has arrived, so it is looked at before. */
static void copy_take(struct relay_copy *copy, struct piece *piece)
{
    struct error err;
    if (piece == NULL || piece->bytes == NULL || !copy_needs(copy, piece->position) || !copy_may_take(copy)) {
        return;
    }
    if (copy->upload == NULL && !stream_is_sound(copy->stream, &err)) {
        copy_end_later(copy, &err, FAILURE_TRANSIENT);
    } else {
        copy_send(copy, piece);
    }
}

/* Sends what is in memory and needed, or completes. */
static void copy_advance(struct relay_copy *copy)
{
    struct stream *stream = copy->stream;
    struct error err;
    if (!copy->is_ready || copy->is_completing) {
        return;
    }
    for (size_t i = 0; stream->piece_count > 0 && i < stream->part_count && copy_may_take(copy); i++) {
        copy_take(copy, stream->pieces[i]);
    }
    if (copy->upload == NULL || copy->sent < stream->part_count) {
        return;
    }
    if (!stream_is_sound(stream, &err)) {
        copy_end_later(copy, &err, FAILURE_TRANSIENT);
        return;
    }
    copy->is_completing = true;
    upload_complete(copy->upload, copy_completed, copy);
}

/* --- reading --- */

static void stream_fail(struct stream *stream, const struct aws_result *result)
{
    /* The reader's key, not the writer's: another round begins with a new one. */
    enum failure_kind kind = result->failure.kind == FAILURE_EXPIRED_TOKEN ? FAILURE_TRANSIENT : result->failure.kind;
    for (struct relay_copy *copy = stream->copies; copy != NULL; copy = copy->next) {
        copy_end_later(copy, &result->err, kind);
    }
    stream_free_if_empty(stream);
}

static void stream_learn(struct stream *stream, const struct piece *piece)
{
    struct part_sum *sum = &stream->sums[piece->position];
    struct slice bytes = slice_from(piece->bytes, (size_t)piece->size_bytes);
    if (!sum->is_known) {
        sum->is_known = true;
        sum->crc = crc64nvme(bytes);
    }
}

static void piece_read(void *context, struct s3_answer *answer)
{
    struct piece *piece = context;
    struct stream *stream = piece->stream;
    struct relay *relay = stream->relay;
    piece->call = NULL;
    if (answer->result->err.action != ERROR_NONE) {
        piece_free(piece);
        stream_fail(stream, answer->result);
        return;
    }
    relay->statistics.parts_read++;
    piece->bytes = slice_copy(answer->body);
    struct md5 md5 = md5_of(answer->body);
    md5_text(&md5, piece->md5);
    sha256_hex(answer->body, piece->sha256);
    stream_learn(stream, piece);
    for (struct relay_copy *copy = stream->copies; copy != NULL; copy = copy->next) {
        copy_take(copy, piece);
    }
    stream_queue(stream);
    relay_advance_later(relay);
}

static void stream_read(struct stream *stream, size_t position)
{
    struct relay *relay = stream->relay;
    struct piece *piece = memory_zeroed(1, sizeof(*piece));
    piece->stream = stream;
    piece->position = position;
    piece->size_bytes = stream_part_bytes(stream, position);
    piece->older = relay->newest;
    *(relay->newest != NULL ? &relay->newest->newer : &relay->oldest) = piece;
    relay->newest = piece;
    relay->piece_count++;
    stream->pieces[position] = piece;
    stream->piece_count++;
    relay->statistics.bytes_held += piece->size_bytes;
    int64_t first = stream->part_count > 1 ? (int64_t)position * stream->part_size_bytes : -1;
    piece->call = s3_get_object(relay->client, &stream->source, stream->etag[0] != '\0' ? stream->etag : NULL, first,
                                piece->size_bytes, piece_read, piece);
}

static bool stream_wants(const struct stream *stream, size_t position)
{
    if (stream->pieces[position] != NULL || stream->needed[position] == 0) {
        return false;
    }
    for (const struct relay_copy *copy = stream->copies; copy != NULL; copy = copy->next) {
        if (copy_needs(copy, position) && copy_may_take(copy)) {
            return true;
        }
    }
    return false;
}

/* The next part, going round, that a copy needs and nobody has. */
static bool stream_next_part(const struct stream *stream, size_t *ret_position)
{
    for (size_t i = 0; i < stream->part_count; i++) {
        *ret_position = (stream->next_part + i) % stream->part_count;
        if (stream_wants(stream, *ret_position)) {
            return true;
        }
    }
    return false;
}

static bool relay_has_room(struct relay *relay, int64_t size_bytes)
{
    int64_t maximum = (int64_t)relay->settings.parts_maximum * relay->settings.part_size_bytes;
    struct piece *piece = relay->oldest;
    while (piece != NULL &&
           (relay->statistics.bytes_held + size_bytes > maximum || relay->piece_count >= PIECES_MAXIMUM)) {
        struct piece *newer = piece->newer;
        struct stream *stream = piece->stream;
        if (piece_is_idle(piece)) {
            piece_free(piece);
            stream_free_if_empty(stream);
        }
        piece = newer;
    }
    return relay->piece_count == 0 ||
           (relay->statistics.bytes_held + size_bytes <= maximum && relay->piece_count < PIECES_MAXIMUM);
}

/* Reads what is needed; false when the memory for it is not there yet. */
static bool stream_read_on(struct stream *stream)
{
    size_t position;
    while (stream_next_part(stream, &position)) {
        if (!relay_has_room(stream->relay, stream_part_bytes(stream, position))) {
            return false;
        }
        stream->next_part = (position + 1) % stream->part_count;
        stream_read(stream, position);
    }
    return true;
}

static void relay_look_around(void *context)
{
    struct relay *relay = context;
    relay->looking_around = NULL;
    relay_advance_later(relay);
}

static void relay_advance(void *context)
{
    struct relay *relay = context;
    relay->advancing = NULL;
    while (relay->queue != NULL) {
        struct stream *stream = relay->queue;
        if (!stream_read_on(stream)) {
            break;
        }
        relay->queue = stream->next_queued;
        stream->is_queued = false;
    }
    /* Copies that begin to lag free memory without anything happening. */
    if (relay->queue != NULL && relay->looking_around == NULL) {
        relay->looking_around = loop_after(aws_client_loop(relay->client), LOOK_AROUND_MS, relay_look_around, relay);
    }
}

/* --- beginning a copy --- */

static void copy_becomes_ready(struct relay_copy *copy)
{
    copy->is_ready = copy->is_open && copy->ending == NULL;
    copy_advance(copy);
    stream_queue(copy->stream);
    relay_advance_later(copy->stream->relay);
}

static void copy_opened(void *context, struct s3_answer *answer)
{
    struct relay_copy *copy = context;
    copy->attempts += answer->result->attempts;
    if (answer->result->err.action != ERROR_NONE) {
        copy_end(copy, answer);
        return;
    }
    copy->is_open = true;
    copy_becomes_ready(copy);
}

void relay_renew(struct relay_copy *copy, const struct credentials *credentials)
{
    s3_subject_renew(&copy->target, credentials);
    copy->renewals++;
    if (copy->upload != NULL) {
        upload_renew(copy->upload, credentials);
    }
    copy_becomes_ready(copy);
}

struct relay_copy *relay_start(struct relay *relay, const struct relay_request *request, s3_done *done, void *context)
{
    struct stream *stream = relay_stream(relay, request);
    struct relay_copy *copy = memory_zeroed(1, sizeof(*copy));
    copy->stream = stream;
    copy->next = stream->copies;
    stream->copies = copy;
    copy->target = s3_subject_keep(&request->target);
    copy->parts = memory_zeroed(stream->part_count, sizeof(*copy->parts));
    copy->done = done;
    copy->on_expired = request->on_expired;
    copy->context = context;
    copy->write = s3_write_keep(request->write, &copy->attributes);
    for (size_t i = 0; i < stream->part_count; i++) {
        stream->needed[i]++;
    }
    if (stream->part_count > 1) {
        struct upload_request upload = {request->target, request->write, stream->part_count, request->size_bytes};
        copy->upload = upload_open(relay->uploads, &upload, copy_opened, copy);
        return copy;
    }
    copy->is_open = true;
    copy_becomes_ready(copy);
    return copy;
}

void relay_statistics_read(const struct relay *relay, struct relay_statistics *ret_statistics)
{
    *ret_statistics = relay->statistics;
}
