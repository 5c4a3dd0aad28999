/* service_keep.c - what outlives the process of a set of hosts: who is ejected. */
#include "gateway/service/service_parts.h"

static uint64_t ejection_stamp(const void *self)
{
    const mg_service *service = self;
    uint64_t stamp = 0;

    for (size_t i = 0; i < service->host_count; i++) {
        const mg_ejection_record record = mg_ejection_read(service->ejection, i);
        stamp = (stamp ^ record.until_ns ^ (uint64_t)record.times << 56) * 0x9e3779b97f4a7c15ull;
    }
    return stamp;
}

static void ejection_write(const void *self, uint64_t policy_ns, mg_text *row)
{
    const mg_service *service = self;
    uint32_t count = 0;

    (void)policy_ns;
    for (size_t i = 0; i < service->host_count; i++)
        count += mg_ejection_read(service->ejection, i).times > 0;
    mg_record_u32(row, count);
    for (size_t i = 0; i < service->host_count; i++) {
        const mg_ejection_record record = mg_ejection_read(service->ejection, i);
        if (!record.times || !count)
            continue;
        count--;
        mg_record_str(row, service->names[i]);
        mg_record_u64(row, record.until_ns);
        mg_record_u32(row, record.times);
    }
    for (; count; count--) { /* one that has come to nothing in between */
        mg_record_str(row, MG_STR(""));
        mg_record_u64(row, 0);
        mg_record_u32(row, 0);
    }
}

static bool ejection_restore(void *self, mg_record *row, uint64_t policy_ns)
{
    mg_service *service = self;
    const uint32_t count = mg_record_get_u32(row);

    for (uint32_t i = 0; i < count && row->ok; i++) {
        const int host = mg_service_host_named(service, mg_record_get_str(row));
        mg_ejection_record record = { .until_ns = mg_record_get_u64(row) };
        record.times = mg_record_get_u32(row);
        if (host >= 0 && row->ok)
            mg_ejection_restore(service->ejection, (size_t)host, record, policy_ns);
    }
    return row->ok;
}

const mg_keep_ops mg_service_keep_ops = { ejection_stamp, ejection_write, ejection_restore };
