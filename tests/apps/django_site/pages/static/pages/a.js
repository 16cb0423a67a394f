console.log("a shell");
