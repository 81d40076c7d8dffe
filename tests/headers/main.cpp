// Links every public header into one program; that it links is the test.
int main() {}
