/* dns_message.c - questions and answers as bytes, by hand. */
#include "net/dns_message.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <cmocka.h>

#define HEAD(flags, answers) "\x12\x34" flags "\0\1\0" answers "\0\0\0\0"
#define ASKED                "\2db\2io\0\0\1\0\1"
#define SELF                 "\300\14"
#define A(owner, ttl, ip)    owner "\0\1\0\1" ttl "\0\4" ip
#define CNAME(owner, target) owner "\0\5\0\1\0\0\0\5\0\7" target
#define MINUTE               "\0\0\0\74"

static mg_result read_bytes(const char *bytes, size_t n, mg_resolved *out)
{
    char *copy = malloc(n); /* of its own, so that a sanitizer sees its end */
    mg_result result;

    *out = (mg_resolved){ 0 };
    memcpy(copy, bytes, n);
    result = mg_dns_read_answer((const uint8_t *)copy, n, 0x1234, MG_STR("db.io"), MG_DNS_A, out);
    free(copy);
    return result;
}

#define reads(bytes, out) read_bytes(bytes, sizeof(bytes) - 1, out)

static void a_question_has_one_form(void **state)
{
    static const char wanted[] = "\x12\x34\1\0\0\1\0\0\0\0\0\0" ASKED;
    uint8_t out[MG_DNS_QUESTION_MAX];

    (void)state;
    assert_int_equal(mg_dns_write_question(out, 0x1234, MG_STR("db.io"), MG_DNS_A), sizeof wanted - 1);
    assert_memory_equal(out, wanted, sizeof wanted - 1);
}

static void addresses_come_with_the_least_time_to_live(void **state)
{
    mg_resolved out;
    char ip[MG_ADDR_TEXT];

    (void)state;
    assert_int_equal(reads(HEAD("\x81\x80", "\2") ASKED A(SELF, MINUTE, "\12\0\0\2")
                               A(SELF, "\0\0\0\7", "\12\0\0\1"),
                           &out),
                     MG_OK);
    assert_int_equal(out.count, 2);
    assert_int_equal(out.ttl_s, 7);
    mg_addr_ip_text(&out.addrs[0], ip);
    assert_string_equal(ip, "10.0.0.1");
    /* RFC 2181: with the highest bit set it is 0. */
    assert_int_equal(reads(HEAD("\x81\x80", "\1") ASKED A(SELF, "\377\0\0\1", "\12\0\0\2"), &out), MG_OK);
    assert_int_equal(out.ttl_s, 0);
}

static void cnames_are_followed_in_whatever_order_they_come(void **state)
{
    mg_resolved out;

    (void)state;
    assert_int_equal(reads(HEAD("\x81\x80", "\2") ASKED A("\2DB\2eu\0", MINUTE, "\12\0\0\3")
                               CNAME(SELF, "\2db\2eu\0"),
                           &out),
                     MG_OK);
    assert_int_equal(out.count, 1);
    assert_int_equal(out.ttl_s, 5);
    /* Addresses of another name are nobody's. */
    assert_int_equal(reads(HEAD("\x81\x80", "\1") ASKED A("\2xx\0", MINUTE, "\12\0\0\3"), &out),
                     MG_ERR_NOT_FOUND);
    assert_int_equal(reads(HEAD("\x81\x80", "\1") ASKED CNAME(SELF, "\2db\2io\0"), &out), MG_ERR_INVALID);
}

static void what_the_server_says_of_the_name_is_told(void **state)
{
    mg_resolved out;

    (void)state;
    assert_int_equal(reads(HEAD("\x81\x83", "\0") ASKED, &out), MG_ERR_NOT_FOUND);
    assert_int_equal(reads(HEAD("\x81\x80", "\0") ASKED, &out), MG_ERR_NOT_FOUND);
    assert_int_equal(reads(HEAD("\x81\x82", "\0") ASKED, &out), MG_ERR_IO);
    assert_int_equal(reads(HEAD("\x81\x85", "\0") ASKED, &out), MG_ERR_IO);
}

static void what_is_not_exactly_an_answer_is_none(void **state)
{
    static const char whole[] = HEAD("\x81\x80", "\1") ASKED A(SELF, MINUTE, "\12\0\0\2");
    mg_resolved out;

    (void)state;
    for (size_t n = 0; n < sizeof whole - 1; n++)
        assert_int_equal(read_bytes(whole, n, &out), MG_ERR_INVALID);
    assert_int_equal(reads(HEAD("\1\0", "\0") ASKED, &out), MG_ERR_INVALID);                 /* a question */
    assert_int_equal(reads(HEAD("\x83\x80", "\0") ASKED, &out), MG_ERR_INVALID);             /* cut */
    assert_int_equal(reads("\x12\x35\x81\x80\0\1\0\0\0\0\0\0" ASKED, &out), MG_ERR_INVALID); /* another's */
    assert_int_equal(reads(HEAD("\x81\x80", "\0") "\2db\2de\0\0\1\0\1", &out), MG_ERR_INVALID);
    assert_int_equal(reads(HEAD("\x81\x80", "\0") "\2db\2io\0\0\34\0\1", &out), MG_ERR_INVALID);
    assert_int_equal(reads(HEAD("\x81\x80", "\1") ASKED "\300\27\0\1\0\1\0\0\0\1\0\4\1\2\3\4", &out),
                     MG_ERR_INVALID); /* a pointer to itself */
    assert_int_equal(reads(HEAD("\x81\x80", "\1") ASKED SELF "\0\1\0\1\0\0\0\1\0\3\1\2\3", &out),
                     MG_ERR_INVALID);
    assert_int_equal(reads(HEAD("\x81\x80", "\1") ASKED "\5db.io\0\0\1\0\1\0\0\0\1\0\4\1\2\3\4", &out),
                     MG_ERR_INVALID); /* a dot within a label */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_question_has_one_form),
        cmocka_unit_test(addresses_come_with_the_least_time_to_live),
        cmocka_unit_test(cnames_are_followed_in_whatever_order_they_come),
        cmocka_unit_test(what_the_server_says_of_the_name_is_told),
        cmocka_unit_test(what_is_not_exactly_an_answer_is_none),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
