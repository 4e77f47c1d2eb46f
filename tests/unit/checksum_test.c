#include "workers/common/aws/checksum.h"

#include "tests/support/unit.h"

#include <stdlib.h>
#include <string.h>

static void the_crc_is_that_of_the_published_check_values(void **state)
{
    (void)state;
    static const struct {
        const char *bytes;
        size_t count;
        uint64_t crc;
    } rows[] = {
        {"", 0, 0},
        /* The check value of the catalogue of parametrised CRC algorithms, and the vectors of the NVM Express
         * specification: 4 KiB of 00 and of FF. */
        {"123456789", 9, UINT64_C(0xae8b14860a799888)},
        {"\x00", 4096, UINT64_C(0x6482d367eb22b64e)},
        {"\xff", 4096, UINT64_C(0xc0ddba7302eca3ac)},
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        AUTO(text) char *bytes = memory_zeroed(rows[i].count + 1, 1);
        if (rows[i].count > 9) {
            memset(bytes, rows[i].bytes[0], rows[i].count);
        } else {
            memcpy(bytes, rows[i].bytes, rows[i].count);
        }
        assert_int_equal(crc64nvme(slice_from(bytes, rows[i].count)), rows[i].crc);
    }
}

static void crcs_of_pieces_join_to_that_of_the_whole_wherever_it_is_cut(void **state)
{
    (void)state;
    enum { SIZE = 4099 };
    char bytes[SIZE];
    for (size_t i = 0; i < SIZE; i++) {
        bytes[i] = (char)(i * 31 + i / 251);
    }
    uint64_t whole = crc64nvme(slice_from(bytes, SIZE));
    for (size_t cut = 0; cut <= SIZE; cut += cut < 20 || cut > SIZE - 20 ? 1 : 97) {
        uint64_t first = crc64nvme(slice_from(bytes, cut));
        uint64_t second = crc64nvme(slice_from(bytes + cut, SIZE - cut));
        assert_int_equal(crc64nvme_join(first, second, SIZE - cut), whole);
    }
}

static void sums_are_written_as_s3_writes_them(void **state)
{
    (void)state;
    char crc[CHECKSUM_CRC64_TEXT_SIZE];
    char text[CHECKSUM_MD5_TEXT_SIZE];
    char hex[CHECKSUM_SHA256_HEX_SIZE];
    crc64nvme_text(UINT64_C(0xae8b14860a799888), crc);
    assert_string_equal(crc, "rosUhgp5mIg=");
    struct md5 md5 = md5_of(slice_of("hello"));
    md5_text(&md5, text);
    assert_string_equal(text, "XUFAKrxLKna5cZ2REBfFkg==");
    sha256_hex(slice_of(""), hex);
    assert_string_equal(hex, "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
}

static void a_sha256_in_base64_is_the_same_in_hex_and_nothing_else_is(void **state)
{
    (void)state;
    char hex[CHECKSUM_SHA256_HEX_SIZE];
    assert_true(sha256_hex_from_base64("47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=", hex));
    assert_string_equal(hex, "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
    static const char *const wrong[] = {"", "47DEQpj8HBSa", "47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFUA",
                                        "47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=-2",
                                        "47DEQpj8HB!a+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU="};
    for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
        assert_false(sha256_hex_from_base64(wrong[i], hex));
    }
}

static void only_plain_sums_are_comparable_etags(void **state)
{
    (void)state;
    static const struct {
        const char *a;
        const char *b;
        bool is_comparable;
    } rows[] = {
        {"\"5d41402abc4b2a76b9719d911017c592\"", "\"00000000000000000000000000000000\"", true},
        {"5d41402abc4b2a76b9719d911017c592", "\"00000000000000000000000000000000\"", true},
        {"\"5d41402abc4b2a76b9719d911017c592-2\"", "\"00000000000000000000000000000000\"", false},
        {"\"5d41402abc4b2a76b9719d911017c592\"", "\"opaque\"", false},
        {"\"5d41402abc4b2a76b9719d911017c59\"", "\"00000000000000000000000000000000\"", false},
        {"", "", false},
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        assert_int_equal(etags_are_comparable(rows[i].a, rows[i].b), rows[i].is_comparable);
        assert_int_equal(etags_are_comparable(rows[i].b, rows[i].a), rows[i].is_comparable);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_crc_is_that_of_the_published_check_values),
        cmocka_unit_test(crcs_of_pieces_join_to_that_of_the_whole_wherever_it_is_cut),
        cmocka_unit_test(sums_are_written_as_s3_writes_them),
        cmocka_unit_test(a_sha256_in_base64_is_the_same_in_hex_and_nothing_else_is),
        cmocka_unit_test(only_plain_sums_are_comparable_etags),
    };
    return cmocka_run_group_tests_name("checksum", tests, NULL, NULL);
}
