    .code16
    .org 0
start:
    cli
    xor %ax, %ax
    mov %ax, %ds
    mov %ax, %es
    mov %ax, %ss
    mov $0x7c00, %sp
    in $0x92, %al          # A20
    or $2, %al
    out %al, $0x92
    cld
    mov $0x1000, %di       # three tables of 4 KiB: PML4, PDPT, PD
    mov %di, %si
    xor %eax, %eax
    mov $0x0c00, %cx
    rep stosl
    movw $0x2003, (%si)            # PML4[0]
    movw $0x3003, 0x1000(%si)      # PDPT[0]
    movw $0x0083, 0x2000(%si)      # PD[0]: 2 MiB at 0, a large page
    mov $0x1000, %eax
    mov %eax, %cr3
    mov %cr4, %eax
    or $0x20, %al          # PAE
    mov %eax, %cr4
    mov $0xc0000080, %ecx  # EFER
    rdmsr
    or $0x100, %ax         # LME
    wrmsr
    lgdtl gdtr - start + 0x7c00
    mov %cr0, %eax
    or $0x80000001, %eax   # paging and protection
    mov %eax, %cr0
    ljmpl $8, $(long - start + 0x7c00)
    .code64
long:
    mov $16, %eax
    mov %eax, %ds
    mov %eax, %ss
    mov $0x100000, %edi    # write and read back above the first MiB
    mov $0x20000, %ecx
    mov $0x5a5a5a5a5a5a5a5a, %rax
    mov %rdi, %rsi
    mov %ecx, %ebx
    rep stosq
    mov %ebx, %ecx
    xor %edx, %edx
1:  lodsq
    add %rax, %rdx
    loop 1b
    cpuid
    mov $0xf4, %dx
    mov $0x10, %al
    out %al, %dx
2:  hlt
    jmp 2b
    .balign 8
gdt:
    .quad 0, 0x00209a0000000000, 0x0000920000000000
gdtr:
    .word gdtr - gdt - 1
    .long gdt - start + 0x7c00
