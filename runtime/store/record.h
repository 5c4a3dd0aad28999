/* record.h - how a row of the store looks: a version byte first, then the CRC-32 of all the rest and of the
 * key it stands under, then the payload; whole numbers little-endian. A row that was cut, flipped or moved
 * does not open. The version is the table's own and says how to read the payload. Pure: any thread, one at a
 * time on one row. */
#ifndef MG_STORE_RECORD_H
#define MG_STORE_RECORD_H

#include "base/str.h"

enum { MG_RECORD_HEAD_BYTES = 5 };

/* CRC-32 as in ISO-HDLC (zlib, Ethernet): reflected 0x04C11DB7. Continues from the `crc` of the bytes before,
 * 0 for none. */
uint32_t mg_crc32(uint32_t crc, const void *bytes, size_t n);

/* Writing: begin, append the payload in any way, end. `row` holds one row at a time, from its first byte. */
void mg_record_begin(mg_text *row, uint8_t version);
void mg_record_u8(mg_text *row, uint8_t number);
void mg_record_u32(mg_text *row, uint32_t number);
void mg_record_u64(mg_text *row, uint64_t number);
void mg_record_str(mg_text *row, mg_str bytes); /* its length as u32, then the bytes */
void mg_record_end(mg_text *row, mg_str key);

/* Reading: what is left of a payload. A read past the end yields 0 or none and clears `ok`, so that one look
 * at the end is enough. Borrows the row. */
typedef struct mg_record {
    mg_str rest;
    uint8_t version;
    bool ok;
} mg_record;

/* False when the row is too short or fails its checksum. */
bool mg_record_open(mg_record *record, mg_str key, mg_str row);
uint8_t mg_record_get_u8(mg_record *record);
uint32_t mg_record_get_u32(mg_record *record);
uint64_t mg_record_get_u64(mg_record *record);
mg_str mg_record_get_str(mg_record *record);

#endif
