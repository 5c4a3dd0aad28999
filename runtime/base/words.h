/* words.h - closed sets: an enum, and the words that stand for its values in documents, metrics and messages.
 * Both come from one list beside the enum:
 *
 *     #define MG_FRUITS(X) X(MG_APPLE, "apple") X(MG_PEAR, "pear")
 *     typedef enum mg_fruit { MG_FRUITS(MG_WORD_ENUM) } mg_fruit;
 *     extern const char *const mg_fruit_words[];               the header
 *     const char *const mg_fruit_words[] = { MG_FRUITS(MG_WORD_TEXT) NULL };   its file
 *
 * The words stand at the values' places, NULL behind the last. tests/lua/words_spec.lua reads these lists and
 * holds schemas/gateway.json and docs/metrics.md against them. Constants, for any thread. */
#ifndef MG_BASE_WORDS_H
#define MG_BASE_WORDS_H

#define MG_WORD_ENUM(value, word) value,
#define MG_WORD_TEXT(value, word) [value] = word,
/* Where the numbers are stored, the list says them: X(MG_APPLE, 1, "apple"). */
#define MG_STORED_ENUM(value, number, word) value = number,
#define MG_STORED_TEXT(value, number, word) [value] = word,
/* For words that stand behind others: "breaker_closed". */
#define MG_WORD_BEHIND(front, value, word) [value] = front word,

#endif
