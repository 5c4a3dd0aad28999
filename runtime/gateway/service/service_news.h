/* service_news.h - tells in the log what changed without a word of an operator's: breakers that opened or
 * closed, hosts that were ejected or are back, panic that began or ended. Looked for once a second on the
 * control thread. What changes all the time is told with longer and longer gaps, and then how often it did.
 */
#ifndef MG_GATEWAY_SERVICE_SERVICE_NEWS_H
#define MG_GATEWAY_SERVICE_SERVICE_NEWS_H

#include "gateway/snapshot.h"

typedef struct mg_service_news mg_service_news;

/* Both are borrowed. Panic and ejections are those of the snapshot that is looked at, breakers all there are:
 * those of services, and those that plugins made. */
mg_service_news *mg_service_news_new(mg_shared *shared, mg_log *log);
void mg_service_news_free(mg_service_news *news); /* NULL is fine */
void mg_service_news_tell(mg_service_news *news, const mg_snapshot *snapshot, uint64_t policy_ns);

#endif
