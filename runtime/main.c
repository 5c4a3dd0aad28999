/* main.c - the program: arguments in, exit status out. */
#include "cli/cli.h"

int main(int argc, char **argv)
{
    return mg_cli_main(argc, argv);
}
