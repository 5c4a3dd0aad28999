/* standalone.c - runs a fuzz target over files instead of through a fuzzer, so that any build with any
 * compiler replays the corpus: `fuzz_h1_request FILE|DIR..`. Without arguments it tries the empty input. */
#include <dirent.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { INPUT_MAX_BYTES = 64 << 20 };

/* On the heap in a block of exactly its size, so that AddressSanitizer sees a read past the end. */
static int run_file(const char *path, size_t size)
{
    FILE *file = fopen(path, "rb");
    uint8_t *data = malloc(size ? size : 1);
    int failed = 1;

    if (file && data && size <= INPUT_MAX_BYTES && fread(data, 1, size, file) == size) {
        LLVMFuzzerTestOneInput(data, size);
        failed = 0;
    } else {
        perror(path);
    }
    free(data);
    if (file)
        fclose(file);
    return failed;
}

static int run_path(const char *path, unsigned *count);

static int run_dir(const char *path, unsigned *count)
{
    struct dirent **names;
    const int n = scandir(path, &names, NULL, alphasort);
    int failed = 0;

    if (n < 0) {
        perror(path);
        return 1;
    }
    for (int i = 0; i < n; i++) {
        char inner[4096];

        snprintf(inner, sizeof(inner), "%s/%s", path, names[i]->d_name);
        if (names[i]->d_name[0] != '.')
            failed |= run_path(inner, count);
        free(names[i]);
    }
    free(names);
    return failed;
}

static int run_path(const char *path, unsigned *count)
{
    struct stat st;

    if (stat(path, &st) != 0) {
        perror(path);
        return 1;
    }
    if (S_ISDIR(st.st_mode))
        return run_dir(path, count);
    ++*count;
    return run_file(path, (size_t)st.st_size);
}

int main(int argc, char **argv)
{
    unsigned count = 0;
    int failed = 0;

    LLVMFuzzerTestOneInput((const uint8_t *)"", 0);
    for (int i = 1; i < argc; i++)
        failed |= run_path(argv[i], &count);
    printf("%u inputs\n", count);
    return failed;
}
