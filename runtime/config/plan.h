/* plan.h - what a VM is made of: the plugins a document names, with their sources, checked configurations and
 * chains, as one JSON text. Two snapshots with the same plan can share their VMs. One thread at a time: the
 * one that holds the configuration. */
#ifndef MG_CONFIG_PLAN_H
#define MG_CONFIG_PLAN_H

#include "config/config.h"

enum {
    MG_PLUGIN_SOURCE_BYTES = 1 << 20, /* of one file */
    MG_PLUGIN_LIBS = 64,              /* files in lib/ */
};

typedef struct mg_plan {
    mg_text json; /* owned */
    uint64_t hash;
    int *chains;     /* owned: of each route, by index: its chain in the plan, or -1 */
    size_t *leading; /* owned: of each route: how many native items stand before its first plugin */
    bool *chooses;   /* owned: of each plugin, by index: its code chooses services */
    size_t chain_count;
    size_t plugin_count;
} mg_plan;

/* Reads plugins and their schemas and holds each configuration against its schema (defaults are filled in).
 * Every plugin of the document is part of the plan, by its index, whether a route names it or not: what is
 * broken is not accepted silently. False when the report got an error. */
bool mg_plan_build(mg_plan *plan, mg_config *config, mg_report *report);
void mg_plan_fini(mg_plan *plan);
/* Whether the code of a plugin with a folder of its own has the name as a text: it may use what is called so.
 */
bool mg_plan_mentions(const mg_config_plugin *plugin, mg_str name);
/* Whether that code chooses services: it calls set_service, or gives ctx.http a `service`. `any_name`: with a
 * name that is not written there, but comes about as it runs. */
bool mg_plan_chooses(const mg_config_plugin *plugin, bool any_name);
/* What kept a VM from taking the plan, as a finding with its place: in the plugin's file, or where the document
 * names it. */
void mg_plan_fault(const mg_config *config, const mg_fault *fault, mg_report *report);

#endif
