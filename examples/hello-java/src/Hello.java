/** Says hello, and to whom it was told to. */
public class Hello {
    public static void main(String[] arguments) {
        System.out.println("Hello, " + (arguments.length > 0 ? String.join(" ", arguments) : "world") + "!");
    }
}
