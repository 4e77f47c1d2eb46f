/*
 * In which order things happened at the source, judged from what an event says and what is remembered of its ref.
 * Pure. Deliveries come twice, late, and in another order; the ref must end at the newest commit all the same.
 *
 * What decides is the chain of commits, not the time of arrival: an event that starts where the ref points to now is
 * the next one, even when it leads back (a rollback, a force-push); one that leads to a commit the ref is known to have
 * left is an older one, come late. When an event touches nothing that is known (pushes in between were lost), the
 * commits' own dates break the tie; without dates it is older if it fills a hole in the past, else it is believed. A
 * wrong guess does not last: what came late is no evidence for the next event.
 */
#pragma once

#include "schemas/event.h"
#include "schemas/ref_state.h"

enum order {
    ORDER_NEXT,      /* the ref points to event->after now (or is deleted) */
    ORDER_SAME,      /* the ref points there already; a build of it may be news */
    ORDER_OLDER,     /* the ref has moved on since */
    ORDER_DUPLICATE, /* this very event has been seen */
};

/* Remembered per ref; beyond it the oldest is forgotten. */
enum { ORDER_STEPS_MAXIMUM = 40 };

/* state: NULL for a ref that was never seen. event_id: of the event. */
enum order order_judge(const struct ref_state *state, const struct event *event, const char *event_id);

/* What is remembered afterwards; state may be NULL. ORDER_DUPLICATE gives a plain copy. The caller frees the result. */
struct ref_state *order_apply(const struct ref_state *state, const struct event *event, const char *event_id,
                              enum order order);
