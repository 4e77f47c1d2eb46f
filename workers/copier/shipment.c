#include "workers/copier/shipment.h"

#include "workers/common/base/clock.h"
#include "workers/copier/deadline.h"

#include <stdlib.h>

/* One object under way, or waiting for its turn. */
struct slot {
    struct shipment *shipment;
    struct copy_object *object; /* NULL: free */
    struct transfer *transfer;
    struct loop_timer *turn;
};

struct shipment {
    const struct shipment_shared *shared;
    struct shipment_request request;
    struct shipment_owner owner;
    enum copy_phase phase;
    size_t next; /* object to copy */
    struct slot *slots;
    size_t in_flight;
    bool is_renewing; /* the writer's credentials, in the middle of copies */
    bool is_ending;   /* a copy has failed: no new one starts */
    struct shipment_result result;
};

static struct loop *shipment_loop(const struct shipment *shipment)
{
    return aws_client_loop(shipment->shared->transfer.client);
}

static void shipment_copy_on(struct shipment *shipment);

/* What has not begun does not begin. */
static void shipment_drop_turns(struct shipment *shipment)
{
    for (size_t i = 0; i < shipment->shared->copies_at_once; i++) {
        struct slot *slot = &shipment->slots[i];
        if (slot->turn != NULL) {
            loop_timer_cancel(shipment_loop(shipment), slot->turn);
            slot->turn = NULL;
            slot->object = NULL;
            shipment->in_flight--;
        }
    }
}

/* The first failure is the one that is told. */
static void shipment_note_failure(struct shipment *shipment, const struct transfer_result *copy)
{
    struct shipment_result *result = &shipment->result;
    result->has_written = result->has_written || copy->may_have_written;
    if (!shipment->is_ending) {
        result->err = copy->err;
        result->failure = copy->failure;
    }
    shipment->is_ending = true;
    shipment_drop_turns(shipment);
}

static void shipment_note_copy(struct shipment *shipment, struct copy_object *object,
                               const struct transfer_result *copy)
{
    object->is_done = !copy->is_unchanged;
    object->unchanged = copy->is_unchanged;
    object->etag = text_copy(copy->etag);
    object->version = text_copy_or_null(copy->version);
    object->checksum = text_copy_or_null(copy->checksum);
    object->check = copy->check;
    if (object->is_done) {
        shipment->result.has_written = true;
        tally_add_copy(shipment->shared->tally, object->source->size_bytes);
    }
    shipment->result.give_up_at_ms = clock_monotonic_ms() + shipment->shared->retry_for_ms;
}

static void shipment_copied(void *context, const struct transfer_result *copy)
{
    struct slot *slot = context;
    struct shipment *shipment = slot->shipment;
    struct copy_object *object = slot->object;
    slot->transfer = NULL;
    slot->object = NULL;
    shipment->in_flight--;
    shipment->result.target_is_opaque = shipment->result.target_is_opaque || copy->target_is_opaque;
    object->attempts += copy->attempts;
    if (copy->err.action != ERROR_NONE) {
        shipment_note_failure(shipment, copy);
    } else {
        shipment_note_copy(shipment, object, copy);
    }
    if (!shipment->is_ending) {
        shipment_copy_on(shipment);
    } else if (shipment->in_flight == 0) {
        shipment->owner.ended(shipment->owner.context);
    }
}

/* In the middle of a copy, whose parts are not to be lost. */
static void shipment_expired(void *context, const struct credentials *expired)
{
    const struct slot *slot = context;
    struct shipment *shipment = slot->shipment;
    if (shipment->is_renewing) {
        return;
    }
    shipment->is_renewing = true;
    shipment->owner.asks_for_credentials(shipment->owner.context, expired);
}

const struct shipment_result *shipment_result(const struct shipment *shipment)
{
    return &shipment->result;
}

void shipment_renew(struct shipment *shipment, const struct credentials *writer)
{
    shipment->is_renewing = false;
    shipment->request.writer = writer;
    for (size_t i = 0; i < shipment->shared->copies_at_once; i++) {
        if (shipment->slots[i].transfer != NULL) {
            transfer_renew(shipment->slots[i].transfer, writer);
        }
    }
}

static void slot_begin(void *context)
{
    struct slot *slot = context;
    struct shipment *shipment = slot->shipment;
    const struct shipment_request *request = &shipment->request;
    struct transfer_request copy = {
        .job = request->job,
        .object = slot->object,
        .writer = request->writer,
        .reader = request->reader != NULL ? request->reader : request->writer,
        .deadline_ms = deadline_of_object(request->job, slot->object->source->size_bytes,
                                          shipment->result.give_up_at_ms, clock_monotonic_ms()),
        .may_read_target = request->may_read_target && !shipment->result.target_is_opaque,
    };
    slot->turn = NULL;
    slot->transfer = transfer_start(&shipment->shared->transfer, &copy, shipment_copied, shipment_expired, slot);
}

static void shipment_copy_start(struct shipment *shipment, struct slot *slot, struct copy_object *object)
{
    int64_t turn_ms = pace_take(shipment->shared->pace, object->rule, clock_monotonic_ms());
    slot->object = object;
    shipment->in_flight++;
    if (turn_ms > 0) {
        slot->turn = loop_after(shipment_loop(shipment), turn_ms, slot_begin, slot);
    } else {
        slot_begin(slot);
    }
}

static struct slot *shipment_free_slot(const struct shipment *shipment)
{
    for (size_t i = 0; i < shipment->shared->copies_at_once; i++) {
        if (shipment->slots[i].object == NULL) {
            return &shipment->slots[i];
        }
    }
    return NULL;
}

/* The next phase, once everything of this one is in place. */
// NOLINTNEXTLINE(misc-no-recursion): as deep as there are phases.
static void shipment_next_phase(struct shipment *shipment)
{
    const struct copies *copies = shipment->request.copies;
    if (shipment->next == copies->count) {
        shipment->owner.ended(shipment->owner.context);
        return;
    }
    shipment->phase = copies->objects[shipment->next].phase;
    if (shipment->phase == PHASE_TRIGGER) {
        shipment->owner.asks_for_word(shipment->owner.context);
        return;
    }
    shipment_copy_on(shipment);
}

/* Starts as many copies of the present phase as may be in flight. */
// NOLINTNEXTLINE(misc-no-recursion): as deep as there are phases.
static void shipment_copy_on(struct shipment *shipment)
{
    struct copies *copies = shipment->request.copies;
    for (;;) {
        while (shipment->next < copies->count && copies->objects[shipment->next].unchanged) {
            shipment->next++;
        }
        if (shipment->next == copies->count || copies->objects[shipment->next].phase != shipment->phase) {
            break;
        }
        struct slot *slot = shipment_free_slot(shipment);
        if (slot == NULL) {
            return;
        }
        shipment_copy_start(shipment, slot, &copies->objects[shipment->next++]);
    }
    if (shipment->in_flight == 0) {
        shipment_next_phase(shipment);
    }
}

struct shipment *shipment_new(const struct shipment_shared *shared, const struct shipment_request *request,
                              const struct shipment_owner *owner)
{
    struct shipment *shipment = memory_zeroed(1, sizeof(*shipment));
    shipment->shared = shared;
    shipment->request = *request;
    shipment->owner = *owner;
    shipment->phase = PHASE_ASSETS;
    shipment->result.give_up_at_ms = request->give_up_at_ms;
    shipment->slots = memory_zeroed(shared->copies_at_once, sizeof(*shipment->slots));
    for (size_t i = 0; i < shared->copies_at_once; i++) {
        shipment->slots[i].shipment = shipment;
    }
    return shipment;
}

void shipment_go_on(struct shipment *shipment)
{
    shipment_copy_on(shipment);
}

void shipment_free(struct shipment *shipment)
{
    if (shipment == NULL) {
        return;
    }
    for (size_t i = 0; i < shipment->shared->copies_at_once; i++) {
        transfer_cancel(shipment->slots[i].transfer);
        loop_timer_cancel(shipment_loop(shipment), shipment->slots[i].turn);
    }
    free(shipment->slots);
    free(shipment);
}
