/* embed.c - looks the carried files up; see embed.h. The files themselves are generated. */
#include "base/embed.h"

#include <stdlib.h>

static int compare(const void *name, const void *file)
{
    return strcmp(name, ((const mg_embedded_file *)file)->name);
}

mg_str mg_embedded(const char *name)
{
    const mg_embedded_file *file =
        bsearch(name, mg_embedded_files, mg_embedded_count, sizeof(mg_embedded_files[0]), compare);

    return file ? file->text : MG_STR_NONE;
}

const mg_embedded_file *mg_embedded_at(const char *prefix, size_t index)
{
    const size_t n = strlen(prefix);

    for (size_t i = 0; i < mg_embedded_count; i++)
        if (strncmp(mg_embedded_files[i].name, prefix, n) == 0 && index-- == 0)
            return &mg_embedded_files[i];
    return NULL;
}
