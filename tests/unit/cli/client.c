/* What commands make of an admin listener's bytes. */
#include "support/check.h"

#include "base/mem.h"
#include "cli/client.h"

static bool parse(const char *bytes, mg_client_answer *answer)
{
    *answer = (mg_client_answer){ 0 };
    return mg_client_parse(mg_str_of(bytes), answer);
}

static void a_whole_answer_has_its_status_and_its_body(void **state)
{
    mg_client_answer answer;

    (void)state;
    assert_true(parse("HTTP/1.1 200 OK\r\ncontent-type: a\r\nContent-Length: 4\r\n\r\n{}\r\n", &answer));
    assert_int_equal(answer.status, 200);
    check_str(answer.body, "{}\r\n");
    assert_true(parse("HTTP/1.1 404 Not Found\r\ncontent-length:0\r\n\r\n", &answer));
    assert_int_equal(answer.status, 404);
    check_str(answer.body, "");
}

static void no_content_needs_no_length(void **state)
{
    mg_client_answer answer;

    (void)state;
    assert_true(parse("HTTP/1.1 204 No Content\r\ncache-control: no-store\r\n\r\n", &answer));
    assert_int_equal(answer.status, 204);
    assert_false(parse("HTTP/1.1 200 OK\r\n\r\n", &answer));
    assert_false(parse("HTTP/1.1 204 No Content\r\n\r\nbytes", &answer));
}

static void what_was_cut_short_is_no_answer(void **state)
{
    static const char whole[] = "HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello";
    mg_client_answer answer;
    char part[sizeof whole];

    (void)state;
    for (size_t n = 0; n < sizeof whole - 1; n++) {
        memcpy(part, whole, n);
        part[n] = '\0';
        assert_false(parse(part, &answer));
    }
    assert_true(parse(whole, &answer));
    assert_false(parse("HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello, more", &answer));
}

static void what_is_not_http_is_no_answer(void **state)
{
    static const char *const bad[] = { "SSH-2.0-OpenSSH\r\n\r\n",
                                       "HTTP/1.0 200 OK\r\ncontent-length: 0\r\n\r\n",
                                       "HTTP/1.1 20 OK\r\ncontent-length: 0\r\n\r\n",
                                       "HTTP/1.1 999 Odd\r\ncontent-length: 0\r\n\r\n",
                                       "HTTP/1.1 200 OK\r\ncontent-length: five\r\n\r\nhello" };
    mg_client_answer answer;

    (void)state;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        assert_false(parse(bad[i], &answer));
}

static void a_name_is_escaped_byte_by_byte(void **state)
{
    mg_text out = { 0 };

    (void)state;
    mg_client_escape(&out, mg_str_make("a/b..\0\xff Z_-9", 12));
    check_str(mg_text_str(&out), "a%2Fb%2E%2E%00%FF%20Z_-9");
    mg_text_fini(&out);
}

static mg_client client_of(const char *admin)
{
    const mg_args args = { .admin = admin };
    mg_client client;

    mg_client_init(&client, "test", &args);
    return client;
}

static void a_socket_is_named_by_option_before_environment(void **state)
{
    mg_client client = client_of("unix:/run/a.sock");

    (void)state;
    setenv("MOONGATE_ADMIN", "unix:/run/b.sock", 1);
    assert_int_equal(mg_client_find(&client), MG_EXIT_OK);
    assert_string_equal(client.path, "/run/a.sock");
    client = client_of(NULL);
    assert_int_equal(mg_client_find(&client), MG_EXIT_OK);
    assert_string_equal(client.path, "/run/b.sock");
    unsetenv("MOONGATE_ADMIN");
}

static void an_address_that_is_no_socket_is_wrong_usage(void **state)
{
    char longer[200] = "unix:";
    mg_client client = client_of("http://127.0.0.1:9901");

    (void)state;
    assert_int_equal(mg_client_find(&client), MG_EXIT_USAGE);
    client = client_of("unix:");
    assert_int_equal(mg_client_find(&client), MG_EXIT_USAGE);
    memset(longer + 5, 'x', sizeof longer - 6);
    longer[sizeof longer - 1] = '\0';
    client = client_of(longer);
    assert_int_equal(mg_client_find(&client), MG_EXIT_USAGE);
}

static void nobody_there_is_told_apart_from_a_refusal(void **state)
{
    mg_client client = client_of("unix:/nonexistent/admin.sock");
    mg_client_answer answer;
    const char *why;

    (void)state;
    assert_int_equal(mg_client_find(&client), MG_EXIT_OK);
    assert_int_equal(mg_client_try(&client, "GET", MG_STR("/v1"), MG_STR_NONE, &answer, &why),
                     MG_EXIT_UNREACHABLE);
    assert_string_equal(why, "No such file or directory");
    mg_client_answer_fini(&answer);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_whole_answer_has_its_status_and_its_body),
        cmocka_unit_test(no_content_needs_no_length),
        cmocka_unit_test(what_was_cut_short_is_no_answer),
        cmocka_unit_test(what_is_not_http_is_no_answer),
        cmocka_unit_test(a_name_is_escaped_byte_by_byte),
        cmocka_unit_test(a_socket_is_named_by_option_before_environment),
        cmocka_unit_test(an_address_that_is_no_socket_is_wrong_usage),
        cmocka_unit_test(nobody_there_is_told_apart_from_a_refusal),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
