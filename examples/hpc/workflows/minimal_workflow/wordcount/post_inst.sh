#!/bin/sh
set -eu
# CFLAGS has the option for the machine's processor; words in it are to be split
gcc $CFLAGS -o /usr/local/bin/wordcount wordcount.c
