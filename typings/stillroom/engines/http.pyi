from engines.http import *
