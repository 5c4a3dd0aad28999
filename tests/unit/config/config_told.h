/* config_told.h - what a document is answered, for tests of what an operator reads. */
#ifndef MG_TESTS_GATEWAY_CONFIG_TOLD_H
#define MG_TESTS_GATEWAY_CONFIG_TOLD_H

#include "support/document.h"

#include "config/config.h"

#define HEAD "version: 1\nlisteners: { web: { bind: \":8080\" } }\n"
#define CART "services: { cart: { endpoints: [{ url: \"http://a:1\" }] } }\n"

static inline void told_at(const char *text, const char *want, const char *file, int line)
{
    mg_report report = MG_REPORT_INIT;
    mg_config *config = mg_config_load_text("m.yaml", mg_str_of(text), NULL, &report);

    assert_true((config != NULL) == (report.errors == 0));
    check_report_at(&report, want, file, line);
    mg_config_free(config);
    mg_report_fini(&report);
}

/* The same, when only the first lines matter: code, path and message of each finding, one a line, and with
 * `hints` what to do about it behind an arrow. */
static inline void found_at(const char *text, const char *want, bool hints, const char *file, int line)
{
    mg_report report = MG_REPORT_INIT;
    mg_config *config = mg_config_load_text("m.yaml", mg_str_of(text), NULL, &report);
    mg_text out = { 0 };

    for (size_t i = 0; i < report.count; i++) {
        const mg_finding *f = &report.findings[i];
        mg_text_addf(&out, "%s %s: %s", f->code, f->pointer ? f->pointer : "", f->message);
        if (hints && f->hint)
            mg_text_addf(&out, " -> %s", f->hint);
        mg_text_add_char(&out, '\n');
    }
    check_str_at(mg_text_str(&out), want, file, line);
    mg_text_fini(&out);
    mg_config_free(config);
    mg_report_fini(&report);
}

#define told(text, want)   told_at((text), (want), __FILE__, __LINE__)
#define found(text, want)  found_at((text), (want), false, __FILE__, __LINE__)
#define hinted(text, want) found_at((text), (want), true, __FILE__, __LINE__)

#endif
