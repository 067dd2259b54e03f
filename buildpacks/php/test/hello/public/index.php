<?php

require __DIR__ . "/../vendor/autoload.php";

echo Example\Greeting\Greeting::of("from PHP " . PHP_MAJOR_VERSION), " at ", strtok($_SERVER["REQUEST_URI"], "?"), "\n";
