/* record.c - rows with a version and a checksum. The CRC runs over two tables of sixteen words, a nibble at a
 * time: rows are short and written by the flush thread, so a larger table would only push others out of the
 * cache. */
#include "store/record.h"
#include "base/check.h"

/* crc_nibble[i]: what four zero bits make of i. */
static const uint32_t crc_nibble[16] = {
    0x00000000, 0x1db71064, 0x3b6e20c8, 0x26d930ac, 0x76dc4190, 0x6b6b51f4, 0x4db26158, 0x5005713c,
    0xedb88320, 0xf00f9344, 0xd6d6a3e8, 0xcb61b38c, 0x9b64c2b0, 0x86d3d2d4, 0xa00ae278, 0xbdbdf21c,
};

uint32_t mg_crc32(uint32_t crc, const void *bytes, size_t n)
{
    const uint8_t *p = bytes;

    crc = ~crc;
    for (size_t i = 0; i < n; i++) {
        crc ^= p[i];
        crc = (crc >> 4) ^ crc_nibble[crc & 15];
        crc = (crc >> 4) ^ crc_nibble[crc & 15];
    }
    return ~crc;
}

static void put_number(char *out, uint64_t number, unsigned bytes)
{
    for (unsigned i = 0; i < bytes; i++)
        out[i] = (char)(number >> (8 * i));
}

static uint64_t get(const char *in, unsigned bytes)
{
    uint64_t number = 0;

    for (unsigned i = 0; i < bytes; i++)
        number |= (uint64_t)(uint8_t)in[i] << (8 * i);
    return number;
}

static uint32_t checksum(mg_str row, mg_str key)
{
    uint32_t crc = mg_crc32(0, row.p, 1);

    crc = mg_crc32(crc, row.p + MG_RECORD_HEAD_BYTES, row.n - MG_RECORD_HEAD_BYTES);
    return mg_crc32(crc, key.p, key.n);
}

static void add_number(mg_text *row, uint64_t number, unsigned bytes)
{
    char out[8];

    put_number(out, number, bytes);
    mg_text_add(row, mg_str_make(out, bytes));
}

void mg_record_begin(mg_text *row, uint8_t version)
{
    mg_text_clear(row);
    add_number(row, version, 1);
    add_number(row, 0, 4); /* the checksum's place */
}

void mg_record_u8(mg_text *row, uint8_t number)
{
    add_number(row, number, 1);
}

void mg_record_u32(mg_text *row, uint32_t number)
{
    add_number(row, number, 4);
}

void mg_record_u64(mg_text *row, uint64_t number)
{
    add_number(row, number, 8);
}

void mg_record_str(mg_text *row, mg_str bytes)
{
    MG_CHECK(bytes.n <= UINT32_MAX);
    add_number(row, bytes.n, 4);
    mg_text_add(row, bytes);
}

void mg_record_end(mg_text *row, mg_str key)
{
    MG_CHECK(row->n >= MG_RECORD_HEAD_BYTES);
    put_number(row->p + 1, checksum(mg_text_str(row), key), 4);
}

bool mg_record_open(mg_record *record, mg_str key, mg_str row)
{
    if (row.n < MG_RECORD_HEAD_BYTES || (uint32_t)get(row.p + 1, 4) != checksum(row, key))
        return false;
    record->version = (uint8_t)row.p[0];
    record->rest = mg_str_make(row.p + MG_RECORD_HEAD_BYTES, row.n - MG_RECORD_HEAD_BYTES);
    record->ok = true;
    return true;
}

/* The next `n` bytes, or none. */
static const char *take_bytes(mg_record *record, size_t n)
{
    const char *p = record->rest.p;

    if (!record->ok || record->rest.n < n) {
        record->ok = false;
        return NULL;
    }
    record->rest = mg_str_make(p + n, record->rest.n - n);
    return p;
}

uint8_t mg_record_get_u8(mg_record *record)
{
    const char *p = take_bytes(record, 1);
    return p ? (uint8_t)*p : 0;
}

uint32_t mg_record_get_u32(mg_record *record)
{
    const char *p = take_bytes(record, 4);
    return p ? (uint32_t)get(p, 4) : 0;
}

uint64_t mg_record_get_u64(mg_record *record)
{
    const char *p = take_bytes(record, 8);
    return p ? get(p, 8) : 0;
}

mg_str mg_record_get_str(mg_record *record)
{
    const uint32_t n = mg_record_get_u32(record);
    const char *p = take_bytes(record, n);

    return p ? mg_str_make(p, n) : MG_STR_NONE;
}
