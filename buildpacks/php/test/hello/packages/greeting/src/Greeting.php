<?php

namespace Example\Greeting;

final class Greeting
{
    public static function of(string $who): string
    {
        return "hello $who";
    }
}
