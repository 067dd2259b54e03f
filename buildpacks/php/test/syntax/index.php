<?php

echo "hello"
echo "there";
