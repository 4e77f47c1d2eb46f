#include "producer/status/channel.h"

#include "producer/api/listing.h"
#include "producer/api/token.h"
#include "workers/common/base/auto.h"
#include "workers/common/base/clock.h"
#include "workers/common/base/pattern.h"

#include <stdlib.h>

enum { BODY_MAXIMUM_BYTES = 16 * 1024, ANSWER_BYTES = 256 * 1024, PAUSE_MS = 500, TURN_MAXIMUM_MS = 60000 };

/* One host with one token. */
struct line {
    struct api *api;
    size_t in_flight;
    unsigned failures; /* since it answered last */
    int64_t paused_until_ms;
    int64_t last_turn_ms; /* that was given to somebody who waits */
};

struct channel {
    const char *hook; /* this and the others are borrowed from the options */
    const char *provider;
    const char *api_url;
    const char *const *repositories;
    size_t repository_count;
    struct line *line;
};

struct channels {
    struct channel *items;
    size_t count;
    struct line *lines; /* room for one each */
    size_t line_count;
};

struct channel_call {
    const struct channel *channel;
    struct api_call *call;
    void (*on_done)(void *context, const struct api_answer *answer);
    void *context;
};

/* --- settings --- */

static struct api_settings settings_of(const struct options *hook)
{
    return (struct api_settings){options_text(hook, "provider"), options_text(hook, "api_url"),
                                 options_text(hook, "token_file")};
}

static bool complain(struct buffer *mistakes, const struct options *hook, const char *text)
{
    buffer_append_format(mistakes, "producer.hooks: hook %.128s: %.600s\n", options_text(hook, "name"), text);
    return false;
}

static bool check_hook(const struct options *hook, struct buffer *mistakes)
{
    struct api_settings settings = settings_of(hook);
    const char *const *patterns;
    AUTO(text) char *mistake = api_mistake(&settings);
    if (mistake != NULL) {
        AUTO(text) char *text = text_format("status: %s", mistake);
        return complain(mistakes, hook, text);
    }
    if (options_texts(hook, "repositories", &patterns) == 0) {
        return complain(mistakes, hook, "repositories is empty: status = true would tell nobody");
    }
    if (settings.token_file == NULL) {
        return complain(mistakes, hook, "token_file is needed with status = true: no host lets anybody set statuses");
    }
    struct error err;
    return token_check(settings.token_file, &err) || complain(mistakes, hook, err.text);
}

bool channels_check(const struct options *options, struct buffer *mistakes)
{
    bool is_valid = true;
    for (size_t i = 0; i < options_groups(options, "producer.hooks"); i++) {
        const struct options *hook = options_group(options, "producer.hooks", i);
        if (options_boolean(hook, "status")) {
            is_valid = check_hook(hook, mistakes) && is_valid;
        }
    }
    return is_valid;
}

/* --- channels --- */

static struct line *line_for(struct channels *channels, struct loop *loop, const struct api_settings *settings,
                             struct error *err)
{
    for (size_t i = 0; i < channels->line_count; i++) {
        if (api_has_settings(channels->lines[i].api, settings)) {
            return &channels->lines[i];
        }
    }
    struct line *line = &channels->lines[channels->line_count];
    if (!api_open(loop, settings, &line->api, err)) {
        return NULL;
    }
    channels->line_count++;
    return line;
}

static bool channel_add(struct channels *channels, struct loop *loop, const struct options *hook, struct error *err)
{
    struct api_settings settings = settings_of(hook);
    struct channel *channel = &channels->items[channels->count];
    *channel = (struct channel){
        .hook = options_text(hook, "name"),
        .provider = settings.provider,
        .api_url = settings.api_url,
        .line = line_for(channels, loop, &settings, err),
    };
    channel->repository_count = options_texts(hook, "repositories", &channel->repositories);
    channels->count++;
    return channel->line != NULL || error_prefix(err, "hook %s", channel->hook);
}

bool channels_open(struct loop *loop, const struct options *options, struct channels **ret_channels, struct error *err)
{
    AUTO(buffer) struct buffer mistakes;
    buffer_init(&mistakes, 16 * 1024);
    if (!channels_check(options, &mistakes)) {
        return error_set(err, ERROR_FATAL, "%s", mistakes.ptr);
    }
    size_t count = options_groups(options, "producer.hooks");
    struct channels *channels = memory_zeroed(1, sizeof(*channels));
    channels->items = memory_zeroed(count + 1, sizeof(*channels->items));
    channels->lines = memory_zeroed(count + 1, sizeof(*channels->lines));
    for (size_t i = 0; i < count; i++) {
        const struct options *hook = options_group(options, "producer.hooks", i);
        if (options_boolean(hook, "status") && !channel_add(channels, loop, hook, err)) {
            channels_close(channels);
            return false;
        }
    }
    *ret_channels = channels;
    return true;
}

void channels_close(struct channels *channels)
{
    if (channels == NULL) {
        return;
    }
    for (size_t i = 0; i < channels->line_count; i++) {
        api_close(channels->lines[i].api);
    }
    free(channels->items);
    free(channels->lines);
    free(channels);
}

const struct channel *channels_find(const struct channels *channels, const char *repository)
{
    for (size_t i = 0; i < channels->count; i++) {
        const struct channel *channel = &channels->items[i];
        if (patterns_match(channel->repositories, channel->repository_count, repository)) {
            return listing_check_name(channel->provider, repository) == NULL ? channel : NULL;
        }
    }
    return NULL;
}

const char *channel_hook(const struct channel *channel)
{
    return channel->hook;
}

/* How long the host is to be left alone. */
static int64_t line_closed_ms(const struct line *line)
{
    int64_t limited_ms = api_limited_ms(line->api);
    int64_t paused_ms = line->paused_until_ms - clock_monotonic_ms();
    int64_t closed_ms = limited_ms > paused_ms ? limited_ms : paused_ms;
    return closed_ms > 0 ? closed_ms : 0;
}

int64_t channel_turn_ms(const struct channel *channel)
{
    struct line *line = channel->line;
    int64_t closed_ms = line_closed_ms(line);
    size_t maximum = line->failures > 0 ? 1 : CHANNEL_IN_FLIGHT_MAXIMUM;
    if (closed_ms == 0 && line->in_flight < maximum) {
        return 0;
    }
    int64_t now_ms = clock_monotonic_ms();
    int64_t earliest_ms = now_ms + closed_ms + CHANNEL_TURN_MS;
    int64_t latest_ms = earliest_ms + TURN_MAXIMUM_MS;
    line->last_turn_ms += CHANNEL_TURN_MS;
    line->last_turn_ms = line->last_turn_ms < earliest_ms ? earliest_ms : line->last_turn_ms;
    line->last_turn_ms = line->last_turn_ms > latest_ms ? latest_ms : line->last_turn_ms;
    return line->last_turn_ms - now_ms;
}

/* 0.5 s, 1 s, 2 s, ... */
static void line_pause(struct line *line)
{
    int64_t pause_ms = PAUSE_MS;
    for (unsigned i = 0; i < line->failures && pause_ms < CHANNEL_PAUSE_MAXIMUM_MS; i++) {
        pause_ms *= 2;
    }
    line->failures++;
    line->paused_until_ms =
        clock_monotonic_ms() + (pause_ms < CHANNEL_PAUSE_MAXIMUM_MS ? pause_ms : CHANNEL_PAUSE_MAXIMUM_MS);
}

static void channel_answered(void *context, const struct api_answer *answer)
{
    struct channel_call *call = context;
    struct line *line = call->channel->line;
    struct api_answer told = *answer;
    line->in_flight--;
    if (answer->outcome == API_LATER) {
        line_pause(line);
    } else if (answer->outcome != API_LIMITED) {
        line->failures = 0;
    }
    if (answer->outcome == API_WRONG && answer->http != NULL &&
        status_is_there(call->channel->provider, answer->status, answer->http->body)) {
        told.outcome = API_OK;
    }
    call->on_done(call->context, &told);
    free(call);
}

struct channel_call *channel_post(const struct channel *channel, const struct status *status,
                                  void (*on_done)(void *context, const struct api_answer *answer), void *context)
{
    struct channel_call *call = memory_zeroed(1, sizeof(*call));
    *call = (struct channel_call){.channel = channel, .on_done = on_done, .context = context};
    struct status whole = *status;
    whole.api_url = channel->api_url;
    AUTO(text) char *target = status_target(channel->provider, &whole);
    AUTO(buffer) struct buffer body;
    buffer_init(&body, BODY_MAXIMUM_BYTES);
    status_body(channel->provider, &whole, &body);
    struct api_request request = {
        .method = "POST", .target = target, .body = buffer_slice(&body), .answer_bytes = ANSWER_BYTES};
    channel->line->in_flight++;
    call->call = api_start(channel->line->api, &request, channel_answered, call);
    return call;
}

void channel_cancel(struct channel_call *call)
{
    if (call == NULL) {
        return;
    }
    call->channel->line->in_flight--;
    api_cancel(call->call);
    free(call);
}
