/* main.c - the program: arguments in, exit status out. */
#include "cli/cli.h"

#include <fcntl.h>
#include <unistd.h>

/* Whoever closed one of stdin, stdout and stderr gets /dev/null in its place: else a socket or a file of the
 * store would get its number, and what is meant for people would be written into it. */
static bool fill_standard_descriptors(void)
{
    int fd = STDIN_FILENO;

    while (fd <= STDERR_FILENO && fcntl(fd, F_GETFD) >= 0)
        fd++;
    if (fd > STDERR_FILENO)
        return true;
    do
        fd = open("/dev/null", O_RDWR); /* the lowest number that is free */
    while (fd >= 0 && fd <= STDERR_FILENO);
    if (fd > STDERR_FILENO)
        close(fd);
    return fd >= 0;
}

int main(int argc, char **argv)
{
    if (!fill_standard_descriptors())
        return MG_EXIT_FAILED;
    return mg_cli_main(argc, argv);
}
