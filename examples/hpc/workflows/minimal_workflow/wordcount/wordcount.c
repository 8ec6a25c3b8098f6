#include <ctype.h>
#include <stdio.h>

int main(void) {
    long words = 0;
    int before = ' ', letter;
    while ((letter = getchar()) != EOF) {
        words += isspace(before) && !isspace(letter);
        before = letter;
    }
    printf("%ld\n", words);
    return 0;
}
