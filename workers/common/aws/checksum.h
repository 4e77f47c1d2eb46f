/*
 * The checksums by which bytes are known again on their way: CRC-64/NVME, which S3 keeps for whole objects and which
 * can be put together from those of the parts in any order; SHA-256, which manifests name and signatures need; MD5,
 * which S3 checks on arrival (Content-MD5) and of which its ETags are made. Pure.
 *
 * Sources: S3 User Guide, "Checking object integrity"; the CRC's parameters are those of the NVM Express specification.
 */
#pragma once

#include "workers/common/base/slice.h"

#include <stdbool.h>
#include <stdint.h>

enum { CHECKSUM_CRC64_TEXT_SIZE = 13, CHECKSUM_MD5_TEXT_SIZE = 25, CHECKSUM_SHA256_HEX_SIZE = 65 };

uint64_t crc64nvme(struct slice bytes);
/* Of two pieces, one behind the other. */
uint64_t crc64nvme_join(uint64_t first, uint64_t second, uint64_t second_size_bytes);
void crc64nvme_text(uint64_t crc, char ret_base64[CHECKSUM_CRC64_TEXT_SIZE]);

struct md5 {
    unsigned char bytes[16];
};

struct md5 md5_of(struct slice bytes);
void md5_text(const struct md5 *md5, char ret_base64[CHECKSUM_MD5_TEXT_SIZE]);

/* Are these two ETags such that unequal ones mean unequal bytes, as far as their form tells: both MD5 sums of whole
 * objects? */
bool etags_are_comparable(const char *a, const char *b);

void sha256_hex(struct slice bytes, char ret_hex[CHECKSUM_SHA256_HEX_SIZE]);
void sha256_hex_from_bytes(const unsigned char sum[32], char ret_hex[CHECKSUM_SHA256_HEX_SIZE]);
/* S3 says in base64 what people and manifests say in hex. False when the text is no SHA-256 in base64. */
bool sha256_hex_from_base64(const char *base64, char ret_hex[CHECKSUM_SHA256_HEX_SIZE]);
