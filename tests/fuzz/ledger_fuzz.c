#include "workers/common/engine/ledger.h"

#include "tests/fuzz/fuzz.h"

enum { BASE = 1000, SPAN = 400, MAXIMUM = 1 << 20 };

/* Which offsets there are: some are gaps. */
static bool is_message(int64_t offset)
{
    return offset % 7 != 3 && offset % 11 != 5;
}

static bool push(struct ledger *ledger, int64_t offset)
{
    static int a_task;
    return ledger_push(ledger, offset, &a_task);
}

/* Whatever metadata is accepted, what is planned from it after any number of messages says the same of every message:
 * nothing is done twice, nothing is left out. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    AUTO(text) char *metadata = slice_copy(slice_from(data, size));
    struct ledger model;
    ledger_init(&model);
    if (!ledger_restore(&model, BASE, metadata)) {
        for (int64_t offset = BASE; offset < BASE + SPAN; offset++) {
            PROMISE(push(&model, offset));
        }
        ledger_done(&model);
        return 0;
    }
    bool is_new[SPAN];
    for (int64_t i = 0; i < SPAN; i++) {
        is_new[i] = is_message(BASE + i) && push(&model, BASE + i);
    }
    ledger_done(&model);
    for (int64_t read = 1; read <= SPAN; read += size > 200 ? 133 : 19) {
        struct ledger first;
        struct ledger second;
        AUTO(buffer) struct buffer map;
        size_t left_out = 0;
        ledger_init(&first);
        ledger_init(&second);
        buffer_init(&map, MAXIMUM);
        PROMISE(ledger_restore(&first, BASE, metadata));
        for (int64_t i = 0; i < read; i++) {
            PROMISE(!is_message(BASE + i) || push(&first, BASE + i) == is_new[i]);
        }
        int64_t base = ledger_plan(&first, MAXIMUM, MAXIMUM, &map, &left_out);
        PROMISE(base >= BASE && left_out == 0 && !map.is_overflowed);
        PROMISE(ledger_restore(&second, base, map.ptr));
        for (int64_t i = 0; i < SPAN; i++) {
            if (is_message(BASE + i)) {
                PROMISE(BASE + i < base ? !is_new[i] : push(&second, BASE + i) == is_new[i]);
            }
        }
        ledger_done(&first);
        ledger_done(&second);
    }
    return 0;
}
