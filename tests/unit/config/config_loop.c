/* Services that would ask this gateway itself. */
#include "config_told.h"

#include <unistd.h>

/* A service at `url`, with this listener. NULL: all is well. */
static void leads(const char *bind, const char *url, const char *to)
{
    char text[512], want[256] = "";

    snprintf(text, sizeof text,
             "version: 1\nlisteners: { web: { bind: \"%s\" } }\nstatus: { bind: \"127.0.0.1:9902\" }\n"
             "services: { s: { endpoints: [{ url: \"http://10.0.0.1:1\" }, { url: \"%s\" }] } }\n"
             "routes: [{ name: all, match: { paths: [{ prefix: / }] }, service: s }]\n",
             bind, url);
    if (to)
        snprintf(want, sizeof want,
                 "not-allowed services.s.endpoints[1].url: \"%s\" is where this gateway itself listens (%s): "
                 "it would ask itself\n",
                 url, to);
    found(text, want);
}

static void an_endpoint_that_is_a_listener_is_refused(void **state)
{
    static const char *const loops[][2] = {
        { ":8080", "http://127.0.0.1:8080" },
        { ":8080", "http://localhost:8080" },
        { ":8080", "http://LOCALHOST.:8080/" },
        { ":8080", "http://web.localhost:8080" },
        { ":8080", "http://[::1]:8080" },
        { ":8080", "http://127.8.9.1:8080" },
        { ":8080", "http://0.0.0.0:8080" },
        { ":8080", "http://[::]:8080" },
        { ":8080", "http://[::ffff:127.0.0.1]:8080" },
        { ":80", "http://localhost" },
        { "0.0.0.0:8080", "http://127.0.0.1:8080" },
        { "127.0.0.1:8080", "http://localhost:8080" },
        { "127.0.0.1:8080", "http://0.0.0.0:8080" },
        { "127.0.0.1:8080", "http://[::ffff:127.0.0.1]:8080" },
        { "[::1]:8080", "http://[0:0::1]:8080" },
        { "10.0.0.3:8080", "http://10.0.0.3:8080" },
        { "[::1]:8080", "http://localhost:8080" },
    };
    (void)state;

    for (size_t i = 0; i < sizeof loops / sizeof *loops; i++)
        leads(loops[i][0], loops[i][1], "listeners.web");
    leads(":8080", "http://127.0.0.1:9902", "status");
    leads(":8080", "http://localhost:9902", "status");
}

static void the_machines_own_name_is_one_of_its_addresses(void **state)
{
    char own[256] = "", url[300];

    (void)state;
    assert_int_equal(gethostname(own, sizeof own - 1), 0);
    snprintf(url, sizeof url, "http://%s:8080", own);
    leads(":8080", url, "listeners.web");
    leads("0.0.0.0:8080", url, "listeners.web");
    leads(":8081", url, NULL);
    leads("10.0.0.3:8080", url, NULL);
    snprintf(url, sizeof url, "http://%s.:8080", own);
    leads(":8080", url, "listeners.web");
    snprintf(url, sizeof url, "http://x%s:8080", own);
    leads(":8080", url, NULL);
}

static void an_endpoint_beside_a_listener_is_not(void **state)
{
    (void)state;
    leads(":8080", "http://127.0.0.1:8081", NULL);
    leads(":8080", "http://10.0.0.3:8080", NULL); /* another machine, for all that the document says */
    leads(":8080", "http://localhost.example:8080", NULL);
    leads("127.0.0.1:8080", "http://127.0.0.2:8080", NULL);
    leads("10.0.0.3:8080", "http://127.0.0.1:8080", NULL);
    leads("10.0.0.3:8080", "http://localhost:8080", NULL);
    leads(":0", "http://127.0.0.1:1", NULL);
    leads("unix:web.sock", "http://127.0.0.1:8080", NULL);
}

static void the_message_names_the_line_and_what_to_write(void **state)
{
    (void)state;
    told(HEAD "services:\n  s:\n    endpoints:\n      - url: http://localhost:8080\n"
              "routes: [{ name: all, match: { paths: [{ prefix: / }] }, service: s }]\n",
         "m.yaml:6:14: error[not-allowed] services.s.endpoints[0].url: \"http://localhost:8080\" is where "
         "this "
         "gateway itself listens (listeners.web): it would ask itself\n"
         "    6 |       - url: http://localhost:8080\n"
         "      |              ^^^^^^^^^^^^^^^^^^^^^\n"
         "      = write the address of the server that is to answer\n");
}

static void a_proxy_of_its_own_address_is_refused(void **state)
{
    mg_report report = MG_REPORT_INIT;
    (void)state;

    assert_null(mg_config_for_proxy("http://127.0.0.1:8080", NULL, &report));
    assert_int_equal(report.errors, 1);
    mg_report_fini(&report);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_endpoint_that_is_a_listener_is_refused),
        cmocka_unit_test(the_machines_own_name_is_one_of_its_addresses),
        cmocka_unit_test(an_endpoint_beside_a_listener_is_not),
        cmocka_unit_test(the_message_names_the_line_and_what_to_write),
        cmocka_unit_test(a_proxy_of_its_own_address_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
