/* config_substitute.c - ${env:NAME} and ${file:PATH} become what they stand for. After parsing, so that no
 * secret can change the structure.
 *
 * White space at the end of a value is cut: editors, `echo` and other systems' line ends leave it there, and
 * no key would match with it. Where a value cannot be meant as it is, that is an error with its place, and
 * not a gateway that answers 401 to everybody. No message shows any of the value. */
#include "config/config_build.h"

enum { MAX_VALUE_BYTES = 64 << 10 };

static const char white[] = " \t\r\n\v\f";

/* What is wrong with a value, and what to do; both NULL when it is fine. */
typedef struct complaint {
    const char *what, *hint;
} complaint;

static complaint judge(mg_str value)
{
    if (value.n > MAX_VALUE_BYTES)
        return (complaint){ "is longer than 64 KiB", "name something shorter" };
    if (memchr(value.p, '\0', value.n))
        return (complaint){ "holds a NUL byte, so it is not text", "write it as text in UTF-8" };
    if (!mg_str_is_utf8(value))
        return (complaint){ "is not text in UTF-8", "write it as text in UTF-8" };
    if (mg_str_starts(value, MG_STR("\xef\xbb\xbf")))
        return (complaint){ "begins with a byte order mark", "write it as UTF-8 without that mark" };
    if (value.n && strchr(white, value.p[0]))
        return (complaint){ "begins with white space",
                            "take the white space away; only that at the end is cut" };
    return (complaint){ NULL, NULL };
}

static mg_str cut_end(mg_str value)
{
    while (value.n && value.p[value.n - 1] && strchr(white, value.p[value.n - 1]))
        value.n--;
    return value;
}

static bool from_env(mg_building *b, const mg_node *node, mg_str name, mg_text *out)
{
    const char *dash = memmem(name.p, name.n, ":-", 2);
    const mg_str fallback = dash ? mg_str_make(dash + 2, name.n - (size_t)(dash + 2 - name.p)) : MG_STR_NONE;

    if (dash)
        name.n = (size_t)(dash - name.p);
    const char *zero = mg_arena_str(&b->config->document, name).p;
    const mg_str value = cut_end(mg_str_of(b->env->getenv(b->env->self, zero)));
    if (dash && !value.n) {
        mg_text_add(out, fallback);
        return true;
    }
    if (!value.p) {
        mg_finding_hint(mg_node_error(b->report, node, "dangling-reference",
                                      "there is no environment variable %.60s", zero),
                        "set it, or give a default: ${env:%.60s:-default}", zero);
        return false;
    }
    const complaint wrong = judge(value);
    if (wrong.what) {
        mg_finding_hint(mg_node_error(b->report, node, "unusable-value", "the environment variable %.60s %s",
                                      zero, wrong.what),
                        "%s", wrong.hint);
        return false;
    }
    mg_text_add(out, value);
    return true;
}

static bool from_file(mg_building *b, const mg_node *node, mg_str path, mg_text *out)
{
    const char *file = mg_config_resolve(b, node, path).p;
    mg_error err = MG_ERROR_INIT;
    mg_str text = MG_STR_NONE;

    const mg_result result =
        b->env->read_file(b->env->self, file, MAX_VALUE_BYTES, &b->config->document, &text, &err);
    if (result != MG_OK) {
        mg_finding_hint(
            mg_node_error(b->report, node, "unreadable-file", "%s", err.message), "%s",
            result == MG_ERR_LIMIT
                ? "a file that a value stands in has at most 64 KiB"
                : "make the file, or correct its path: it starts from the folder of this document");
        return false;
    }
    const mg_str value = cut_end(text);
    const complaint wrong = value.n ? judge(value)
                                    : (complaint){ text.n ? "has nothing but white space" : "is empty",
                                                   "write the value into it" };
    if (wrong.what) {
        mg_finding_hint(mg_node_error(b->report, node, "unusable-value", "%s %s", file, wrong.what), "%s",
                        wrong.hint);
        return false;
    }
    mg_text_add(out, value);
    return true;
}

/* Appends what stands at rest ("${" is next) and moves rest behind it. */
static bool substitute_one(mg_building *b, const mg_node *node, mg_str *rest, mg_text *out)
{
    const size_t end = mg_str_find(*rest, '}');
    const mg_str inner = mg_str_sub(*rest, 2, end == SIZE_MAX ? 2 : end);

    *rest = mg_str_sub(*rest, end == SIZE_MAX ? rest->n : end + 1, rest->n);
    if (mg_str_starts(inner, MG_STR("env:")) && inner.n > 4)
        return from_env(b, node, mg_str_sub(inner, 4, inner.n), out);
    if (mg_str_starts(inner, MG_STR("file:")) && inner.n > 5)
        return from_file(b, node, mg_str_sub(inner, 5, inner.n), out);
    mg_finding_hint(
        mg_node_error(b->report, node, "not-allowed", "${ begins no reference that is known"),
        "write ${env:NAME}, ${env:NAME:-default} or ${file:PATH}; $${ stands for the characters ${");
    return false;
}

static void substitute_text(mg_building *b, mg_node *node)
{
    mg_text out = { 0 };
    mg_str rest = node->text;
    bool good = true, changed = false;

    while (rest.n > 0 && good) {
        if (mg_str_starts(rest, MG_STR("$${"))) {
            mg_text_add_c(&out, "${");
            rest = mg_str_sub(rest, 3, rest.n);
        } else if (mg_str_starts(rest, MG_STR("${"))) {
            good = substitute_one(b, node, &rest, &out);
            changed = true;
        } else {
            mg_text_add_char(&out, rest.p[0]);
            rest = mg_str_sub(rest, 1, rest.n);
        }
    }
    node->text = mg_arena_str(&b->config->document, mg_text_str(&out));
    node->substituted = changed;
    node->broken = !good;
    if (!good)
        node->kind = MG_NODE_NULL;
    mg_text_fini(&out);
}

/* A key such as "${file:key}" would be taken as it is written, and match nothing. */
static void refuse_in_key(mg_building *b, mg_node *node)
{
    if (!node->key || !(memmem(node->key->text.p, node->key->text.n, "${env:", 6) ||
                        memmem(node->key->text.p, node->key->text.n, "${file:", 7)))
        return;
    mg_finding_hint(mg_node_error(b->report, node->key, "not-allowed", "a key of a map holds no reference"),
                    "${..} may only stand in a value, such as `{ key: \"${file:PATH}\", .. }` of a list");
    node->broken = true;
}

void mg_config_substitute(mg_building *b, mg_node *node)
{
    refuse_in_key(b, node);
    if (node->kind == MG_NODE_STRING && memmem(node->text.p, node->text.n, "${", 2))
        substitute_text(b, node);
    for (mg_node *it = (mg_node *)mg_node_children(node); it; it = it->next)
        mg_config_substitute(b, it);
}
