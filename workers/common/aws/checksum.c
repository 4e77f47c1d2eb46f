#include "workers/common/aws/checksum.h"

#include <openssl/evp.h>

#include <stdio.h>
#include <string.h>

enum { SLICES = 8, CRC_BITS = 64, SHA256_BYTES = 32, SHA256_BASE64_LENGTH = 44 };

/* The reflected polynomial. */
static const uint64_t polynomial = UINT64_C(0x9a6c9329ac4bc9b5);

static uint64_t tables[SLICES][256];

/* One table a byte position, so that eight bytes cost eight look-ups and no shifts between them. */
static void tables_fill(void)
{
    for (unsigned byte = 0; byte < 256; byte++) {
        uint64_t crc = byte;
        for (int bit = 0; bit < 8; bit++) {
            crc = (crc & 1) != 0 ? (crc >> 1) ^ polynomial : crc >> 1;
        }
        tables[0][byte] = crc;
    }
    for (unsigned byte = 0; byte < 256; byte++) {
        for (int slice = 1; slice < SLICES; slice++) {
            uint64_t before = tables[slice - 1][byte];
            tables[slice][byte] = tables[0][before & 0xff] ^ (before >> 8);
        }
    }
}

uint64_t crc64nvme(struct slice bytes)
{
    const unsigned char *at = (const unsigned char *)bytes.ptr;
    size_t left = bytes.len;
    uint64_t crc = ~UINT64_C(0);
    if (tables[0][1] == 0) {
        tables_fill();
    }
    for (; left >= SLICES; left -= SLICES, at += SLICES) {
        uint64_t word;
        memcpy(&word, at, sizeof(word));
        word ^= crc;
        crc = 0;
        for (int slice = 0; slice < SLICES; slice++) {
            crc ^= tables[SLICES - 1 - slice][(word >> (8 * slice)) & 0xff];
        }
    }
    for (; left > 0; left--, at++) {
        crc = tables[0][(crc ^ *at) & 0xff] ^ (crc >> 8);
    }
    return ~crc;
}

/* Multiplication of the matrix of a linear map by a vector of bits. */
static uint64_t matrix_apply(const uint64_t matrix[CRC_BITS], uint64_t vector)
{
    uint64_t sum = 0;
    for (int i = 0; vector != 0; i++, vector >>= 1) {
        sum ^= (vector & 1) != 0 ? matrix[i] : 0;
    }
    return sum;
}

static void matrix_square(uint64_t ret_square[CRC_BITS], const uint64_t matrix[CRC_BITS])
{
    for (int i = 0; i < CRC_BITS; i++) {
        ret_square[i] = matrix_apply(matrix, matrix[i]);
    }
}

/* Appending zero bits is a linear map of the register; appending n bytes is that map to the power of 8 n, reached by
 * squaring. */
uint64_t crc64nvme_join(uint64_t first, uint64_t second, uint64_t second_size_bytes)
{
    uint64_t matrices[2][CRC_BITS];
    int now = 0;
    matrices[0][0] = polynomial;
    for (int i = 1; i < CRC_BITS; i++) {
        matrices[0][i] = UINT64_C(1) << (i - 1);
    }
    for (int i = 0; i < 3; i++, now = 1 - now) {
        matrix_square(matrices[1 - now], matrices[now]);
    }
    for (; second_size_bytes > 0; second_size_bytes >>= 1, now = 1 - now) {
        if ((second_size_bytes & 1) != 0) {
            first = matrix_apply(matrices[now], first);
        }
        matrix_square(matrices[1 - now], matrices[now]);
    }
    return first ^ second;
}

void crc64nvme_text(uint64_t crc, char ret_base64[CHECKSUM_CRC64_TEXT_SIZE])
{
    unsigned char bytes[8];
    for (int i = 0; i < 8; i++) {
        bytes[i] = (unsigned char)(crc >> (56 - 8 * i));
    }
    (void)EVP_EncodeBlock((unsigned char *)ret_base64, bytes, sizeof(bytes));
}

static void digest(const EVP_MD *kind, struct slice bytes, unsigned char *ret_digest)
{
    if (EVP_Digest(bytes.len > 0 ? bytes.ptr : "", bytes.len, ret_digest, NULL, kind, NULL) != 1) {
        error_out_of_memory();
    }
}

struct md5 md5_of(struct slice bytes)
{
    struct md5 md5 = {0};
    digest(EVP_md5(), bytes, md5.bytes);
    return md5;
}

void md5_text(const struct md5 *md5, char ret_base64[CHECKSUM_MD5_TEXT_SIZE])
{
    (void)EVP_EncodeBlock((unsigned char *)ret_base64, md5->bytes, sizeof(md5->bytes));
}

static void hex_of(const unsigned char *bytes, size_t count, char *ret_hex)
{
    for (size_t i = 0; i < count; i++) {
        (void)snprintf(ret_hex + 2 * i, 3, "%02x", bytes[i]);
    }
}

static bool etag_is_sum(const char *etag)
{
    const char *hex = etag[0] == '"' ? etag + 1 : etag;
    size_t length = strspn(hex, "0123456789abcdef");
    return length == 2 * sizeof(struct md5) && (hex[length] == '\0' || strcmp(hex + length, "\"") == 0);
}

bool etags_are_comparable(const char *a, const char *b)
{
    return etag_is_sum(a) && etag_is_sum(b);
}

void sha256_hex(struct slice bytes, char ret_hex[CHECKSUM_SHA256_HEX_SIZE])
{
    unsigned char sum[SHA256_BYTES];
    digest(EVP_sha256(), bytes, sum);
    sha256_hex_from_bytes(sum, ret_hex);
}

void sha256_hex_from_bytes(const unsigned char sum[32], char ret_hex[CHECKSUM_SHA256_HEX_SIZE])
{
    hex_of(sum, SHA256_BYTES, ret_hex);
}

bool sha256_hex_from_base64(const char *base64, char ret_hex[CHECKSUM_SHA256_HEX_SIZE])
{
    unsigned char sum[SHA256_BASE64_LENGTH];
    if (strlen(base64) != SHA256_BASE64_LENGTH || strcmp(base64 + SHA256_BASE64_LENGTH - 1, "=") != 0 ||
        EVP_DecodeBlock(sum, (const unsigned char *)base64, SHA256_BASE64_LENGTH) != SHA256_BYTES + 1) {
        return false;
    }
    hex_of(sum, SHA256_BYTES, ret_hex);
    return true;
}
